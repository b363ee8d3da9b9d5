package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAddToIsIdempotent(t *testing.T) {
	dir, file := bundle(t, string(fixture(t, "config/docker.json")))
	var first os.FileInfo
	var text string
	for i := range 3 {
		if err := addition().AddTo(file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first, text = info, read(t, file)
		} else if !os.SameFile(info, first) || read(t, file) != text {
			t.Errorf("time %d changes the file", i+1)
		}
	}
	checkAlone(t, dir)
}

// checkAlone makes sure that nothing lies beside the configuration.
func checkAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != ConfigFile {
		t.Errorf("the directory has %v, %v", entries, err)
	}
}

func TestAddToErrors(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":                                  {"", "unexpected end of JSON input"},
		"garbage":                                {"hello\n", "invalid character"},
		"truncated":                              {`{"hooks":{`, "unexpected end of JSON input"},
		"two objects":                            {"{}\n{}", "invalid character"},
		"null":                                   {"null", "want a JSON object"},
		"an array":                               {"[]", "cannot unmarshal array"},
		"hooks: a string":                        {`{"hooks":"x\ny"}`, "hooks: json: cannot unmarshal string"},
		"hooks: an array":                        {`{"hooks":[{"path":"/a"}]}`, "hooks: json: cannot unmarshal array"},
		"a stage without a list":                 {`{"hooks":{"poststop":{"path":"/a"}}}`, "hooks: poststop: json: cannot unmarshal object"},
		"a hook that is a string":                {`{"hooks":{"createRuntime":["/a"]}}`, "hooks: createRuntime: json: cannot unmarshal string"},
		"a hook whose arguments are no list":     {`{"hooks":{"createRuntime":[{"args":"x"}]}}`, "hooks: createRuntime: json: cannot unmarshal string"},
		"annotations: an array":                  {`{"annotations":[]}`, "annotations: json: cannot unmarshal array"},
		"annotations: a string, beside hooks":    {`{"hooks":{},"annotations":"x"}`, "annotations: json: cannot unmarshal string"},
		"broken after what would be added there": {`{"a":1,"b":}`, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := bundle(t, tt.text)
			before, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			err = addition().AddTo(file)
			checkError(t, err, "parse "+file+": ")
			checkError(t, err, tt.want)
			after, err := os.Stat(file)
			if err != nil || !os.SameFile(before, after) || read(t, file) != tt.text {
				t.Errorf("the file has become %q, %v", read(t, file), err)
			}
			checkAlone(t, dir)
		})
	}
}

func TestAddToNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := addition().AddTo(filepath.Join(dir, ConfigFile)); !os.IsNotExist(err) {
		t.Errorf("got %v, want that it does not exist", err)
	}
	fifo(t, filepath.Join(dir, ConfigFile))
	soon(t, func() { checkError(t, addition().AddTo(filepath.Join(dir, ConfigFile)), "not a regular file") })
	checkAlone(t, dir)
}

func TestAddToKeepsModeAndOwner(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o644, 0o444, 0o660} {
		dir, file := bundle(t, "{}")
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		uid, gid := os.Geteuid(), os.Getegid()
		if uid == 0 {
			uid, gid = 1234, 4321
			if err := os.Chown(file, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		if err := addition().AddTo(file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || int(owner.Uid) != uid || int(owner.Gid) != gid {
			t.Errorf("got %v %d:%d, want %v %d:%d", info.Mode(), owner.Uid, owner.Gid, mode, uid, gid)
		}
		checkAlone(t, dir)
	}
}

// TestAddToFollowsLinks: the file is replaced, not the link, and its temporary file lies beside it.
func TestAddToFollowsLinks(t *testing.T) {
	realDir, file := bundle(t, "{}")
	dir := t.TempDir()
	link := filepath.Join(dir, ConfigFile)
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := addition().AddTo(link); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link: got %q, %v", to, err)
	}
	if text := read(t, file); !strings.Contains(text, newRuntime) {
		t.Errorf("got %s", text)
	}
	checkAlone(t, realDir)
	checkAlone(t, dir)
}

// fullDisk is, in the environment of a test of its own process, the file that it is to change.
const fullDisk = "OCI_TEST_FULL_DISK"

// TestAddToFullDisk: a file that cannot be written is removed, and the old one stays.
func TestAddToFullDisk(t *testing.T) {
	if file := os.Getenv(fullDisk); file != "" {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("failed:", addition().AddTo(file))
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir, file := bundle(t, "{}")
	// go test writes files too: the limit is for another process.
	cmd := exec.Command(os.Args[0], "-test.run=^TestAddToFullDisk$")
	cmd.Env = append(os.Environ(), fullDisk+"="+file)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "failed: write ") || !strings.Contains(string(out), "file too large") {
		t.Errorf("got %q, %v", out, err)
	}
	if text := read(t, file); text != "{}" {
		t.Errorf("the file has become %q", text)
	}
	checkAlone(t, dir)
}
