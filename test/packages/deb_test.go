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

// debRoot is a root in which dpkg installs.
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

var debNames = []string{"palisade-lxc", "palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-userns-shift", "palisade-authz-broker"}

// TestDeb installs, verifies, upgrades and removes the packages.
func TestDeb(t *testing.T) {
	r := newDebRoot(t)
	before := tree(t, r.root, nil)
	r.dpkg(t, append([]string{"-i"}, files(t, shared.first, "*.deb", 6)...)...)
	checkPrograms(t, r.root, version)
	checkModes(t, r.root)
	if out := r.dpkg(t, append([]string{"-V"}, debNames...)...); out != "" {
		t.Errorf("dpkg -V says %s", out)
	}
	if log := calls(t, r.root); strings.Contains(log, " start") || strings.Contains(log, "enable ") || strings.Contains(log, "reload lxcfs") {
		t.Errorf("a service is started, without a preset that says so: %q", log)
	}

	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	setActive(t, r.root, "lxcfs.service", "authz-broker.service")
	r.dpkg(t, append([]string{"-i"}, files(t, shared.later, "*.deb", 6)...)...)
	checkPrograms(t, r.root, laterVersion)
	checkModes(t, r.root)
	checkOwn(t, r.root, "")
	log := calls(t, r.root)
	if !strings.Contains(log, "reload lxcfs.service") || !strings.Contains(log, "try-restart authz-broker.service") {
		t.Errorf("in an upgrade systemctl was told %q", log)
	}
	if strings.Contains(log, "disable") || strings.Contains(log, "stop") || strings.Contains(log, "restart lxcfs") {
		t.Errorf("lxcfs is stopped in an upgrade: %q", log)
	}

	r.dpkg(t, append([]string{"-r"}, debNames...)...)
	checkOwn(t, r.root, "")
	if log = calls(t, r.root); !strings.Contains(log, "disable --now lxcfs.service") || !strings.Contains(log, "disable --now authz-broker.service authz-broker.socket") {
		t.Errorf("in a removal systemctl was told %q", log)
	}
	checkRemains(t, r.root, before, "/"+policyFile, "/"+isuladHook, "/"+lcrdHook)
	r.dpkg(t, append([]string{"-P"}, "palisade-lxcfs-toolkit", "palisade-authz-broker")...)
	checkRemains(t, r.root, before)
}

// TestDebForeignFiles installs the packages where an administrator has the files already. Without a terminal dpkg has to be told to
// keep what is there.
func TestDebForeignFiles(t *testing.T) {
	r := newDebRoot(t)
	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	r.dpkg(t, append([]string{"--force-confold", "-i"}, files(t, shared.first, "*.deb", 6)...)...)
	checkOwn(t, r.root, "")
}

// TestDebIsLikeRPM compares the files of both.
func TestDebIsLikeRPM(t *testing.T) {
	deb, rpm := newDebRoot(t), newRPMRoot(t)
	deb.dpkg(t, append([]string{"-i"}, files(t, shared.first, "*.deb", 6)...)...)
	rpm.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	got, want := tree(t, deb.root, nil), tree(t, rpm.root, nil)
	if !slices.Equal(got, want) {
		t.Errorf("the debs have\n%s\nthe rpms have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, path := range want {
		a, errA := os.Lstat(filepath.Join(deb.root, path))
		b, errB := os.Lstat(filepath.Join(rpm.root, path))
		if errA != nil || errB != nil || a.Mode() != b.Mode() {
			t.Errorf("%s: %v %v, %v %v", path, a, errA, b, errB)
		}
	}
}

// TestDebInPlaceOfDebians installs the packages where Debian's lxcfs is: it goes, and the unit is ours, enabled as it was, also when
// what is left of the other is purged.
func TestDebInPlaceOfDebians(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("Debian's package is got by apt-get")
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
