package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReadHooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hooks.json")
	write(t, file, `{
	"prestart": [
		{"path": "/bin/sh", "args": ["sh", "-c", "a <b >c"], "env": ["A=b", "C="], "timeout": 5},
		{"path": "/bin/sh"}
	],
	"createRuntime": [{"path": "/bin/sh", "args": []}],
	"createContainer": [{"path": "/bin/sh", "timeout": 1}],
	"startContainer": [{"path": "/bin/sh", "timeout": null}],
	"poststart": [],
	"poststop": null
}`)
	hooks, err := ReadHooks(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"prestart": 2, "createRuntime": 1, "createContainer": 1, "startContainer": 1}
	for _, s := range stages(&hooks) {
		if len(*s.hooks) != want[s.name] {
			t.Errorf("%s: got %d hooks, want %d", s.name, len(*s.hooks), want[s.name])
		}
	}
	first := (*stages(&hooks)[0].hooks)[0]
	if first.Path != "/bin/sh" || len(first.Args) != 3 || first.Args[2] != "a <b >c" || len(first.Env) != 2 || *first.Timeout != 5 {
		t.Errorf("got %+v", first)
	}
	for _, text := range []string{"{}", "null", `{"prestart":[]}`} {
		write(t, file, text)
		if _, err := ReadHooks(file); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestReadHooksErrors(t *testing.T) {
	hook := func(stage, fields string) string { return `{"` + stage + `":[{"path":"/bin/sh"},{` + fields + `}]}` }
	tests := []struct{ name, text, want string }{
		{"empty", "", "EOF"},
		{"garbage", "hello\n", "invalid character"},
		{"truncated", `{"prestart":[`, "unexpected EOF"},
		{"something behind", `{"prestart":[]}{}`, "text follows"},
		{"an array", "[]", "cannot unmarshal array"},
		{"an unknown stage", `{"preStop":[]}`, `unknown field "preStop"`},
		{"podman's format", `{"version":"1.0.0","hook":{"path":"/bin/sh"},"when":{"always":true},"stages":["prestart"]}`, `unknown field "version"`},
		{"a configuration", `{"hooks":{"prestart":[]}}`, `unknown field "hooks"`},
		{"an unknown field", hook("prestart", `"path":"/bin/sh","when":1`), `unknown field "when"`},
		{"one hook without a list", `{"prestart":{"path":"/bin/sh"}}`, "cannot unmarshal object"},
		{"no path", hook("prestart", `"args":["x"]`), `a prestart hook: path "" is not absolute`},
		{"a relative path", hook("poststop", `"path":"sh"`), `a poststop hook: path "sh" is not absolute`},
		{"a missing program", hook("createRuntime", `"path":"/nonexistent/x"`), "a createRuntime hook: stat /nonexistent/x: no such file or directory"},
		{"below a file", hook("createRuntime", `"path":"/bin/sh/x"`), "a createRuntime hook: stat /bin/sh/x: not a directory"},
		{"a directory", hook("startContainer", `"path":"/"`), `a startContainer hook: path "/" is not a program`},
		{"a file that is no program", hook("poststart", `"path":"/etc/passwd"`), `a poststart hook: path "/etc/passwd" is not a program`},
		{"a device", hook("poststart", `"path":"/dev/null"`), `path "/dev/null" is not a program`},
		{"no time", hook("prestart", `"path":"/bin/sh","timeout":0`), "a prestart hook: timeout 0 is not positive"},
		{"less than no time", hook("createContainer", `"path":"/bin/sh","timeout":-3`), "a createContainer hook: timeout -3 is not positive"},
		{"a timeout that is no number", hook("prestart", `"path":"/bin/sh","timeout":"5s"`), "cannot unmarshal string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hooks.json")
			write(t, file, tt.text)
			_, err := ReadHooks(file)
			checkError(t, err, file)
			checkError(t, err, tt.want)
		})
	}
}

func TestReadHooksFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hooks.json")
	if _, err := ReadHooks(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want %v", err, fs.ErrNotExist)
	}
	huge(t, file)
	_, err := ReadHooks(file)
	checkError(t, err, "larger than 16777216 bytes")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	fifo(t, file)
	soon(t, func() {
		_, err := ReadHooks(file)
		checkError(t, err, "not a regular file")
	})
}

// TestReadHooksTrustsRootOnly: who may write the program is root as soon as it runs.
func TestReadHooksTrustsRootOnly(t *testing.T) {
	dir := t.TempDir()
	program, file := filepath.Join(dir, "program"), filepath.Join(dir, "hooks.json")
	write(t, program, "#!/bin/sh\n")
	write(t, file, `{"prestart":[{"path":"`+program+`"}]}`)
	check := func(mode os.FileMode, uid int, want string) {
		t.Helper()
		err := os.Chmod(program, mode)
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(program, uid, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err = ReadHooks(file); want != "" {
			checkError(t, err, want)
		} else if err != nil {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	const others = "is writable by users other than root"
	check(0o757, 0, others)
	check(0o775, 0, others)
	check(0o666, 0, "is not a program")
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	check(0o755, 65534, others)
	check(0o755, 0, "")
	check(0o100, 0, "")
	// A link is as good as what it leads to.
	link := filepath.Join(dir, "link")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	write(t, file, `{"prestart":[{"path":"`+link+`"}]}`)
	check(0o755, 0, "")
	check(0o755, 65534, others)
}
