//go:build integration

package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debRoot is a root with a database of dpkg.
type debRoot struct{ root string }

func newDebRoot(t *testing.T) debRoot {
	t.Helper()
	r := debRoot{newRoot(t)}
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(r.root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(r.root, "var/lib/dpkg/status"), "", 0o644)
	return r
}

func (r debRoot) dpkg(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "dpkg", append([]string{"--root=" + r.root, "--log=/dev/null"}, args...)...)
}

var debNames = []string{"palisade-lxc", "palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-nri", "palisade-userns-shift", "palisade-authz-broker"}

// TestDeb checks installation, verification, upgrade and removal of the debs.
func TestDeb(t *testing.T) {
	r := newDebRoot(t)
	before := tree(t, r.root, nil)
	r.dpkg(t, append([]string{"-i"}, files(t, shared.first, "*.deb", 7)...)...)
	checkPrograms(t, r.root, version)
	checkModes(t, r.root)
	if out := r.dpkg(t, append([]string{"-V"}, debNames...)...); out != "" {
		t.Errorf("dpkg -V: %s", out)
	}
	if log := calls(t, r.root); strings.Contains(log, " start") || strings.Contains(log, "enable ") || strings.Contains(log, "reload lxcfs") {
		t.Errorf("a service is enabled or started without a preset: %q", log)
	}

	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	setActive(t, r.root, "lxcfs.service", "authz-broker.service")
	r.dpkg(t, append([]string{"-i"}, files(t, shared.later, "*.deb", 7)...)...)
	checkPrograms(t, r.root, laterVersion)
	checkModes(t, r.root)
	checkOwn(t, r.root, "")
	log := calls(t, r.root)
	if !strings.Contains(log, "reload lxcfs.service") || !strings.Contains(log, "try-restart authz-broker.service") {
		t.Errorf("got systemctl calls %q in an upgrade", log)
	}
	if strings.Contains(log, "disable") || strings.Contains(log, "stop") || strings.Contains(log, "restart lxcfs") {
		t.Errorf("an upgrade stops lxcfs: %q", log)
	}

	r.dpkg(t, append([]string{"-r"}, debNames...)...)
	checkOwn(t, r.root, "")
	if log = calls(t, r.root); !strings.Contains(log, "disable --now lxcfs.service") || !strings.Contains(log, "disable --now authz-broker.service authz-broker.socket") {
		t.Errorf("got systemctl calls %q in a removal", log)
	}
	checkRemains(t, r.root, before, "/"+policyFile, "/"+isuladHook, "/"+lcrdHook)
	r.dpkg(t, append([]string{"-P"}, "palisade-lxcfs-toolkit", "palisade-authz-broker")...)
	checkRemains(t, r.root, before)
}

// TestDebForeignFiles checks that an installation keeps existing files of an administrator. Without
// a terminal dpkg needs --force-confold.
func TestDebForeignFiles(t *testing.T) {
	r := newDebRoot(t)
	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	r.dpkg(t, append([]string{"--force-confold", "-i"}, files(t, shared.first, "*.deb", 7)...)...)
	checkOwn(t, r.root, "")
}

// TestDebIsLikeRPM checks that debs and rpms install the same files.
func TestDebIsLikeRPM(t *testing.T) {
	deb, rpm := newDebRoot(t), newRPMRoot(t)
	deb.dpkg(t, append([]string{"-i"}, files(t, shared.first, "*.deb", 7)...)...)
	rpm.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	got, want := tree(t, deb.root, nil), tree(t, rpm.root, nil)
	if !slices.Equal(got, want) {
		t.Errorf("the debs have\n%s\nthe rpms have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, path := range want {
		a, errA := os.Lstat(filepath.Join(deb.root, path))
		b, errB := os.Lstat(filepath.Join(rpm.root, path))
		if errA != nil || errB != nil || a.Mode() != b.Mode() {
			t.Errorf("%s: deb %v %v, rpm %v %v", path, a, errA, b, errB)
		}
	}
}

// TestDebReplacesDebians checks that the packages replace Debian's lxcfs with an enabled unit,
// also after the rest of it is purged.
func TestDebReplacesDebians(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get to download Debian's package")
	}
	dir := t.TempDir()
	download := exec.Command("apt-get", "--option", "Acquire::Retries=3", "download", "lxcfs")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--mount", "testdata/merged.sh", root}, files(t, dir, "lxcfs_*.deb", 1)...)
	for _, name := range []string{"lxc", "lxcfs", "lxcfs-toolkit"} {
		args = append(args, files(t, shared.first, "palisade-"+name+"_*.deb", 1)...)
	}
	if out, err := exec.Command("unshare", args...).Output(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
