//go:build integration

package remap

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/engine"
)

// inspectScript is the script of a container that prints its ids and the owners of files, and
// writes a file as root.
const inspectScript = `id -u; cat /proc/self/uid_map; stat -c %u / /bin/busybox; ` +
	`echo x >/root/made; stat -c %u /root/made`

const inspectOutput = "0\n         0     100000      65535\n0\n0\n0\n"

// TestRuntime checks that the wrapper gives containers a user namespace and mount points, with the
// map from an option, the environment or the annotation, in both modes.
func TestRuntime(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, tt := range []struct {
			name    string
			mode    string
			from    string
			written int // owner on the disk of new files
		}{
			{"shift by option", "shift", "option", firstID},
			{"mapped by option", "idmap", "option", 0},
			{"auto by annotation", "auto", "annotation", 0},
			{"shift by environment", "shift", "environment", firstID},
		} {
			t.Run(tt.name, func(t *testing.T) {
				options := []string{"--mode", tt.mode}
				b := newBundle(t, inspectScript, func(s *specs.Spec) {
					if tt.from == "annotation" {
						s.Annotations = map[string]string{"palisade.user-remap": remap100000}
					}
				})
				if tt.written == 0 {
					closeDir(t, b.dir)
				}
				before, err := os.ReadFile(b.config())
				if err != nil {
					t.Fatal(err)
				}
				switch tt.from {
				case "option":
					options = append(options, "--user-remap", remap100000)
				case "environment":
					t.Setenv("USERNS_SHIFT_REMAP", remap100000)
				}
				// The second run changes nothing.
				for range 2 {
					r := wrapped(t, runtime, options, "run", "--bundle", b.dir, b.id)
					if r.Code != 0 || r.Stdout != inspectOutput || r.Stderr != "" {
						t.Errorf("%+v", r)
					}
					checkOwners(t, b.rootfs, tt.written)
				}
				kept, err := os.ReadFile(b.config() + ".before-userns-shift")
				if err != nil || string(kept) != string(before) {
					t.Errorf("got original %s (%v), want %s", kept, err, before)
				}
				if left, err := os.ReadDir(runDir); err != nil || len(left) != 0 {
					t.Errorf("left in %s: %v %v", runDir, left, err)
				}
			})
		}
	})
}

// TestRuntimeSteps checks create, start, exec and delete with the wrapper, as engines call them.
// The host's uid of the init must be the one in the user manual.
func TestRuntimeSteps(t *testing.T) {
	b := newBundle(t, "sleep 1000", nil)
	closeDir(t, b.dir)
	// A pipe would stay open until the container exits.
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(shared.shift, "runtime", "--user-remap", remap100000, "--", "create",
		"--bundle", b.dir, b.id)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name()) // only for the message
		t.Fatalf("create: %v: %s", err, text)
	}
	options := []string{"--user-remap", remap100000}
	if r := wrapped(t, "runc", options, "start", b.id); r.Code != 0 {
		t.Fatalf("start: %+v", r)
	}
	var state specs.State
	if err := json.Unmarshal([]byte(wrapped(t, "runc", nil, "state", b.id).Stdout),
		&state); err != nil {
		t.Fatal(err)
	}
	if uid := uidOf(t, state.Pid); uid != "100000" {
		t.Errorf("got uid %s of the init, want 100000", uid)
	}
	if r := wrapped(t, "runc", options, "exec", b.id, "/bin/sh", "-c",
		"echo test123 >/test123; id -u"); r.Code != 0 || r.Stdout != "0\n" {
		t.Errorf("exec: %+v", r)
	}
	if uid := owner(t, filepath.Join(b.rootfs, "test123")); uid != 0 {
		t.Errorf("the container's new file belongs to %d on the disk, want 0", uid)
	}
	if r := wrapped(t, "runc", options, "delete", "--force", b.id); r.Code != 0 {
		t.Errorf("delete: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(runDir, b.id)); err == nil {
		t.Errorf("%s remains in %s", b.id, runDir)
	}
}

// TestRuntimeSweeps checks that old mounts are removed, and new ones are not.
func TestRuntimeSweeps(t *testing.T) {
	old, young := newBundle(t, inspectScript, nil), newBundle(t, inspectScript, nil)
	for _, b := range []*bundle{old, young} {
		// crun runs no poststop hooks after a failure.
		b.edit(t, func(s *specs.Spec) { s.Process.Args = []string{"/no/such/program"} })
		if r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "create", "--bundle", b.dir,
			"--no-such-option", b.id); r.Code == 0 {
			t.Fatalf("%+v", r)
		}
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(runDir, old.id), past, past); err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, inspectScript, nil)
	if r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", b.dir,
		b.id); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	entries, err := os.ReadDir(runDir)
	if err != nil || len(entries) != 1 || entries[0].Name() != young.id {
		t.Errorf("got entries %v (%v), want %s", entries, err, young.id)
	}
	wrapped(t, "runc", nil, "delete", "--force", young.id) // removes only the mount
}

// TestRuntimeClosedWay checks a container whose bundle and root file system only root can reach on
// the host.
func TestRuntimeClosedWay(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, mode := range []string{"idmap", "shift"} {
			closed := filepath.Join(t.TempDir(), "closed")
			if err := os.MkdirAll(filepath.Join(closed, "rootfs"), 0o700); err != nil {
				t.Fatal(err)
			}
			newRootfs(t, filepath.Join(closed, "rootfs"))
			b := newBundle(t, inspectScript,
				func(s *specs.Spec) { s.Root.Path = filepath.Join(closed, "rootfs") })
			closeDir(t, b.dir)
			if r := wrapped(t, runtime, []string{"--mode", mode, "--user-remap", remap100000}, "run", "-b",
				b.dir, b.id); r.Code != 0 ||
				r.Stdout != inspectOutput {
				t.Errorf("%s: %+v", mode, r)
			}
			if info, err := os.Stat(b.dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("got mode %v (%v) of the bundle's directory, want 0700", info.Mode(), err)
			}
		}
	})
}

// TestRuntimeSameBundle checks several containers from one bundle, also after its configuration was
// replaced.
func TestRuntimeSameBundle(t *testing.T) {
	b := newBundle(t, inspectScript, nil)
	run := func(id, want string) {
		t.Helper()
		r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", b.dir, id)
		if r.Code != 0 || r.Stdout != want {
			t.Errorf("%s: %+v", id, r)
		}
	}
	fresh, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	run(b.id, inspectOutput)
	run(b.id+"-2", inspectOutput)
	other := filepath.Join(openDir(t), "other")
	newRootfs(t, other)
	if err := os.WriteFile(filepath.Join(other, "name"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config(), fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	b.edit(t, func(s *specs.Spec) {
		s.Root.Path, s.Process.Args = other, []string{"/bin/ls", "/name"}
	})
	run(b.id+"-3", "/name\n")
	run(b.id+"-4", "/name\n")
	copied := newBundle(t, inspectScript, nil)
	text, err := os.ReadFile(b.config())
	if err == nil {
		err = os.WriteFile(copied.config(), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", copied.dir, copied.id)
	if r.Code != 1 || !strings.Contains(r.Stderr, "its original cannot be read") {
		t.Errorf("copied without the original: %+v", r)
	}
}

// TestRuntimeMapped checks containers on a root file system that is idmapped already.
func TestRuntimeMapped(t *testing.T) {
	dir := openDir(t)
	src, dst := filepath.Join(dir, "closed/src"), filepath.Join(dir, "dst")
	newRootfs(t, src)
	closeDir(t, filepath.Dir(src))
	if err := os.Mkdir(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "mount", "--user-remap", remap100000, src, dst)
	t.Cleanup(func() { must(t, "umount", dst) })
	for _, mode := range []string{"auto", "shift", "check", "idmap"} {
		b := newBundle(t, inspectScript, func(s *specs.Spec) { s.Root.Path = dst })
		if r := wrapped(t, "runc", []string{"--mode", mode, "--user-remap", remap100000}, "run", "-b",
			b.dir, b.id); r.Code != 0 || r.Stdout != inspectOutput {
			t.Errorf("%s: %+v", mode, r)
		}
		b = newBundle(t, inspectScript, func(s *specs.Spec) { s.Root.Path = dst })
		r := wrapped(t, "runc", []string{"--mode", mode, "--user-remap", "300000:300000:65535"}, "run",
			"-b", b.dir, b.id)
		if r.Code != 1 || !strings.Contains(r.Stderr,
			"on an idmapped mount with other maps than 300000:300000:65535") {
			t.Errorf("%s, other ids: %+v", mode, r)
		}
	}
	checkOwners(t, src, 0)
	if err := os.Chmod(filepath.Dir(src), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"auto", "shift", "idmap"} {
		b := newBundle(t, inspectScript, func(s *specs.Spec) { s.Root.Path = dst })
		options := []string{"--mode", mode, "--user-remap", remap100000}
		r := wrapped(t, "runc", options, "run", "-b", b.dir, b.id)
		if r.Code != 1 || !strings.HasSuffix(r.Stderr, ": chmod 0700 "+filepath.Dir(src)+"\n") {
			t.Errorf("%s, open: %+v", mode, r)
		}
	}
}

// TestRuntimeOverlay checks that a shift copies up the files of an overlay only if that is allowed.
func TestRuntimeOverlay(t *testing.T) {
	dir := openDir(t)
	lower, merged := filepath.Join(dir, "lower"), filepath.Join(dir, "merged")
	newRootfs(t, lower)
	for _, sub := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(merged, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		allow string
		code  int
	}{{"", 1}, {"false", 1}, {"true", 0}} {
		b := newBundle(t, inspectScript, func(s *specs.Spec) {
			s.Root.Path = merged
			s.Annotations = map[string]string{"palisade.user-remap": remap100000,
				"palisade.allow-copyup": tt.allow}
		})
		r := wrapped(t, "runc", []string{"--mode", "shift"}, "run", "-b", b.dir, b.id)
		if r.Code != tt.code || tt.code == 0 && r.Stdout != inspectOutput ||
			tt.code != 0 && !strings.Contains(r.Stderr, "is an overlay") {
			t.Errorf("%q: %+v", tt.allow, r)
		}
	}
	checkOwners(t, lower, 0)
	checkOwners(t, merged, firstID)
}

// TestRuntimeAdapts checks that settings that cannot work in a user namespace are changed, and
// unknown ones are kept.
func TestRuntimeAdapts(t *testing.T) {
	b := newBundle(t, "id -u; mount | grep -E 'devpts|sysfs'", func(s *specs.Spec) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces,
			func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	})
	text, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "{", `{"x-unknown":{"kept":[1,2]},`, 1)
	if err := os.WriteFile(b.config(), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	// Four ids do not include gid 5 of /dev/pts, and sysfs belongs to the host's network namespace.
	r := wrapped(t, "runc", []string{"--user-remap", "100000:100000:4"}, "run", "-b", b.dir, b.id)
	if r.Code != 0 || !strings.HasPrefix(r.Stdout, "0\n") || !strings.Contains(r.Stdout, "devpts") ||
		strings.Contains(r.Stdout, "gid=") ||
		!strings.Contains(r.Stdout, "sysfs on /sys ") {
		t.Errorf("%+v", r)
	}
	if text, err = os.ReadFile(b.config()); err != nil ||
		!strings.Contains(string(text), `"x-unknown":{"kept":[1,2]}`) {
		t.Errorf("config.json has lost unknown fields: %v %s", err, text)
	}
}

// TestRuntimeLeavesAlone checks that commands without a request for a remap have the same output as
// without the wrapper.
func TestRuntimeLeavesAlone(t *testing.T) {
	b := newBundle(t, "id -u; exit 7", nil)
	before, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]string{nil, {"--user-remap", "0:100000:65535"}} {
		if r := wrapped(t, "runc", options, "run", "-b", b.dir, b.id); r.Code != 7 || r.Stdout != "0\n" ||
			r.Stderr != "" {
			t.Errorf("%q: %+v", options, r)
		}
	}
	if after, err := os.ReadFile(b.config()); err != nil || string(after) != string(before) {
		t.Errorf("config.json has changed: %v", err)
	}
	for _, args := range [][]string{{"state", "absent"}, {"run", "-b", t.TempDir(), "x"},
		{"--version"}, {"delete", "absent"}, {"delete"}} {
		if r, direct := wrapped(t, "runc", []string{"--user-remap", remap100000}, args...),
			runRuntime(t, "runc", args...); r.Undated() != direct.Undated() {
			t.Errorf("%q: %+v, runc itself %+v", args, r, direct)
		}
	}
}

// TestRuntimeMistakes checks that invalid requests give one line with the reason, also in the log
// that engines read, and change nothing.
func TestRuntimeMistakes(t *testing.T) {
	all := []string{"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_ADMIN"}
	for _, tt := range []struct {
		name    string
		options []string
		edit    func(*specs.Spec)
		code    int
		want    string
	}{
		{"not a remap", []string{"--user-remap", "0x10:1:1"}, nil, 1,
			`host uid "0x10" is no decimal number`},
		{"annotation", nil,
			func(s *specs.Spec) { s.Annotations = map[string]string{"palisade.user-remap": "1:2"} }, 1,
			`annotation palisade.user-remap: user remap "1:2" has 2 fields`},
		{"mode", []string{"--mode", "fly"}, nil, 2, `--mode "fly" is none of auto, shift, idmap, check`},
		{"runtime", []string{"--runtime", "/no/such"}, nil, 2, `--runtime "/no/such"`},
		{"itself", []string{"--runtime", shared.shift}, nil, 2, "itself"},
		{"privileged", []string{"--user-remap", remap100000}, func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		}, 1, "the container is privileged"},
		{"process", []string{"--user-remap", "100000:100000:1000"},
			func(s *specs.Spec) { s.Process.User.UID = 1000 }, 1,
			"uid 1000 of the container's process is not mapped, want an offset of at least 1001"},
		{"group", []string{"--user-remap", "100000:100000:1000"},
			func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{2000} }, 1,
			"gid 2000 of the container's process is not mapped, want an offset of at least 2001"},
		{"other maps", []string{"--user-remap", "200000:200000:65535"}, withUserNamespace, 1,
			"the container's own user namespace is 100000:100000:65535"},
		{"another's namespace", []string{"--user-remap", remap100000}, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces,
				specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/1/ns/user"})
		}, 1, "joins the user namespace /proc/1/ns/user"},
		{"no root", []string{"--user-remap", remap100000}, func(s *specs.Spec) { s.Root = nil }, 1,
			"no root file system of its own"},
		{"the system's root", []string{"--user-remap", remap100000, "--mode", "shift"},
			func(s *specs.Spec) { s.Root.Path = "/usr" }, 1,
			"/usr is a directory of the system"},
		{"not shifted", []string{"--user-remap", remap100000, "--mode", "check"}, nil, 1,
			"userns-shift shift --user-remap " + remap100000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, "echo runs", tt.edit)
			before, err := os.ReadFile(b.config())
			if err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(b.dir, "log.json")
			r := wrapped(t, "runc", tt.options, "--log", log, "--log-format", "json", "run", "--bundle",
				b.dir, b.id)
			if r.Code != tt.code || !strings.Contains(r.Stderr, tt.want) ||
				strings.Count(r.Stderr, "\n") != 1 || r.Stdout != "" {
				t.Errorf("%+v, want exit code %d and %q", r, tt.code, tt.want)
			}
			if after, err := os.ReadFile(b.config()); err != nil || string(after) != string(before) {
				t.Errorf("config.json has changed: %v", err)
			}
			checkOwners(t, b.rootfs, 0)
			if tt.code == 2 {
				return
			}
			var line struct{ Level, Msg string }
			if text, err := os.ReadFile(log); err != nil || json.Unmarshal(text, &line) != nil ||
				line.Level != "error" ||
				!strings.Contains(line.Msg, tt.want) {
				t.Errorf("got log %s (%v), want %q", text, err, tt.want)
			}
		})
	}
}

// TestWithLxcfs checks a container with both wrappers: a user namespace and the files of lxcfs.
func TestWithLxcfs(t *testing.T) {
	mountpoint := startLxcfs(t)
	wrapper := filepath.Join(t.TempDir(), "userns-shift-runc") // the name replaces the arguments
	if err := os.Symlink(shared.shift, wrapper); err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, inspectScript+"; mount | grep -c lxcfs; head -n 1 /proc/meminfo",
		func(s *specs.Spec) {
			s.Annotations = map[string]string{"palisade.user-remap": remap100000}
			limit := int64(64 << 20)
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
		})
	r := engine.Run(t, "", shared.toolkit, "--mountpoint", mountpoint, "--runtime-dir", t.TempDir(),
		"runtime", "--strict", "--runtime", wrapper, "--", "run", "-b", b.dir, b.id)
	rest, ok := strings.CutPrefix(r.Stdout, inspectOutput)
	if r.Code != 0 || !ok || !strings.HasSuffix(rest, "MemTotal:          65536 kB\n") {
		t.Errorf("%+v", r)
	}
}
