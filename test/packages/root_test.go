//go:build integration

package packages

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// newRoot creates an empty root with a shell and a stand-in for systemctl.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "bin/busybox"), read(t, busybox), 0o755)
	if err := os.Symlink("busybox", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "usr/bin"} {
		write(t, filepath.Join(root, dir, "systemctl"), read(t, "testdata/systemctl"), 0o755)
	}
	for _, dir := range []string{"run", "units"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "dev/null"), "", 0o666)
	write(t, filepath.Join(root, brokerArgs), "/usr/bin/authz-broker\x00--pid-file\x00/run/authz-broker/authz.pid\x00", 0o444)
	return root
}

// setActive makes systemctl report units as active.
func setActive(t *testing.T, root string, units ...string) {
	t.Helper()
	for _, unit := range units {
		write(t, filepath.Join(root, "units", unit+".active"), "", 0o644)
	}
}

// calls returns the calls of systemctl since the last call of calls.
func calls(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, "systemctl.log")
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	os.Remove(path) // may not exist
	return string(text)
}

const (
	policyFile = "var/lib/authz-broker/policy.json"
	ownPolicy  = `{"name":"mine","users":["alice"],"actions":["container_list"]}` + "\n"
	isuladHook = "var/lib/isulad/hooks/hookspec.json"
	lcrdHook   = "var/lib/lcrd/hooks/hookspec.json"
	ownHook    = `{"prestart":[]}` + "\n"
	// brokerArgs has the command line of the broker whose pid systemctl reports.
	brokerArgs = "proc/77/cmdline"
)

// checkPrograms runs the installed programs by all their names.
func checkPrograms(t *testing.T, root, version string) {
	t.Helper()
	for _, name := range []string{
		"/usr/bin/lxcfs", "/usr/bin/lxcfs-toolkit", "/usr/bin/lxcfs-tools", "/usr/bin/palisade", "/usr/bin/palisade-nri", "/usr/bin/userns-shift", "/usr/bin/authz-broker", "/usr/lib/isulad/authz-broker",
	} {
		if out := run(t, "chroot", root, name, "--version"); !strings.Contains(out, version) {
			t.Errorf("%s: got version %s, want %s", name, out, version)
		}
	}
	for _, name := range []string{"/usr/bin/lxcfs-hook", "/var/lib/isulad/hooks/lxcfs-hook", "/var/lib/lcrd/hooks/lxcfs-hook"} {
		if out := run(t, "chroot", root, name, "--help"); !strings.Contains(out, "lxcfs-toolkit hook") {
			t.Errorf("%s --help: %s", name, out)
		}
	}
	// Both execute runc, which is missing.
	for _, name := range []string{"/usr/bin/lxcfs-runc", "/usr/bin/userns-shift-runc"} {
		if out, err := exec.Command("chroot", root, name, "--version").CombinedOutput(); err == nil || !strings.Contains(string(out), "runc") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	if out := run(t, "chroot", root, "/usr/bin/authz-broker", "check"); !strings.Contains(out, "policies: 1,") {
		t.Error(out)
	}
}

// checkModes checks the modes of the configuration files: only root can read the policies.
func checkModes(t *testing.T, root string) {
	t.Helper()
	for path, want := range map[string]fs.FileMode{policyFile: 0o600, filepath.Dir(policyFile): fs.ModeDir | 0o750, isuladHook: 0o644} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// docPaths matches documents and completions, whose paths differ between debs and rpms.
var docPaths = regexp.MustCompile(`^/usr/share/(licenses|zsh|doc/palisade-[a-z-]*)(/|$)`)

// tree lists the files in a root, except those in another list, documents and state of dpkg and
// rpm.
func tree(t *testing.T, root string, without []string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = strings.TrimPrefix(path, root)
		switch {
		case path == "" || slices.Contains(without, path) || docPaths.MatchString(path):
		case strings.HasPrefix(path, "/root") || path == "/var/tmp" || strings.HasPrefix(path, "/var/lib/rpm") || strings.HasPrefix(path, "/usr/lib/sysimage") || strings.HasPrefix(path, "/var/lib/dpkg"):
		case path == "/var/log" || path == "/var/log/dpkg.log" || path == "/systemctl.log" || strings.HasPrefix(path, "/units"):
		default:
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
