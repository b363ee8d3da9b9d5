//go:build integration

package packages

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
)

// TestReproducible compares all that was built twice.
func TestReproducible(t *testing.T) {
	built := append(files(t, shared.first, "*.rpm", 7), files(t, shared.first, "*.deb", 6)...)
	for _, path := range append(built, files(t, shared.first, "*.tar.gz", 1)...) {
		again := filepath.Join(shared.again, filepath.Base(path))
		if sha256.Sum256([]byte(read(t, path))) != sha256.Sum256([]byte(read(t, again))) {
			t.Errorf("%s is another one when it is built again", filepath.Base(path))
		}
	}
}

func TestRpmlint(t *testing.T) {
	args := append([]string{"-r", repository + "/rpm/palisade.rpmlintrc", repository + "/rpm/palisade.spec"}, files(t, shared.first, "*.rpm", 7)...)
	out, err := exec.Command("rpmlint", args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 errors") {
		t.Errorf("%v: %s", err, out)
	}
}

// binaryRPMs are the six, without the source.
func binaryRPMs(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, dir, "*.rpm", 7), func(path string) bool { return strings.HasSuffix(path, ".src.rpm") })
}

const queryFiles = `[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILELINKTOS}\n]`

// TestRPMFiles compares what is in the packages with the lists in testdata.
func TestRPMFiles(t *testing.T) {
	for _, path := range binaryRPMs(t, shared.first) {
		name := strings.TrimSpace(run(t, "rpm", "-qp", "--qf", "%{NAME}", path))
		var got strings.Builder
		for line := range strings.Lines(run(t, "rpm", "-qp", "--qf", queryFiles, path)) {
			got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
		golden.Check(t, filepath.Join("testdata", name+".files"), got.String())
	}
}

// TestRPMDependencies makes sure that the packages want one another where they have to, and nothing else.
func TestRPMDependencies(t *testing.T) {
	release := version + "-1" + strings.TrimSpace(run(t, "rpm", "--eval", "%{?dist}"))
	for name, want := range map[string]string{
		"lxcfs":         "/bin/sh palisade-lxcfs-toolkit = " + release,
		"lxc":           "/bin/sh palisade-lxcfs = " + release,
		"lxcfs-toolkit": "/bin/sh", "tools": "", "userns-shift": "/bin/sh", "authz-broker": "/bin/sh",
	} {
		path := files(t, shared.first, "palisade-"+name+"-0*.rpm", 1)[0]
		var got []string
		for line := range strings.Lines(run(t, "rpm", "-qp", "--requires", path)) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "rpmlib(") && !strings.HasPrefix(line, "config(") && line != "systemd" && !slices.Contains(got, line) {
				got = append(got, line)
			}
		}
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("%s requires %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"lxcfs": "lxcfs < 8", "lxc": "lxcfs < 8", "lxcfs-toolkit": "lxcfs-tools < 1", "tools": "", "userns-shift": "", "authz-broker": "authz < 1",
	} {
		path := files(t, shared.first, "palisade-"+name+"-0*.rpm", 1)[0]
		if got := strings.TrimSpace(run(t, "rpm", "-qp", "--obsoletes", path)); got != want {
			t.Errorf("%s obsoletes %q, want %q", name, got, want)
		}
		if provides := run(t, "rpm", "-qp", "--provides", path); want != "" && name != "lxc" && !strings.Contains(provides, strings.Replace(want, "<", "=", 1)+"\n") {
			t.Errorf("%s obsoletes %s, and provides %s", name, want, provides)
		}
	}
}

// rpmRoot is a root with the shell of newRoot as a package.
type rpmRoot struct{ root string }

func newRPMRoot(t *testing.T) rpmRoot {
	t.Helper()
	r := rpmRoot{newRoot(t)}
	dir := t.TempDir()
	spec := filepath.Join(dir, "base.spec")
	// The packages may require only a shell and systemd.
	write(t, spec, `Name: base
Version: 1
Release: 1
Summary: A shell
License: none
BuildArch: noarch
AutoReqProv: no
Provides: /bin/sh systemd
%description
A shell.
%files
`, 0o644)
	run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir, spec)
	r.rpm(t, "-i", files(t, dir, "RPMS/noarch/*.rpm", 1)[0])
	return r
}

func (r rpmRoot) rpm(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "rpm", append([]string{"--root", r.root}, args...)...)
}

// TestRPM installs, verifies, upgrades and removes the packages.
func TestRPM(t *testing.T) {
	r := newRPMRoot(t)
	before := tree(t, r.root, nil)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	checkPrograms(t, r.root, version)
	checkModes(t, r.root)
	for _, name := range programs {
		if out := r.rpm(t, "-V", packageOf(name)); out != "" {
			t.Errorf("%s: rpm -V says %s", name, out)
		}
	}
	// A distribution's own macros call a helper, which this root does not have.
	ownMacros := strings.TrimSpace(run(t, "rpm", "--eval", "%{?systemd_post:yes}")) == ""
	log := calls(t, r.root)
	for _, want := range []string{"preset lxcfs.service", "preset authz-broker.service authz-broker.socket"} {
		if ownMacros && !strings.Contains(log, want) {
			t.Errorf("systemctl was told %q, and not %q", log, want)
		}
	}
	if strings.Contains(log, "start") || strings.Contains(log, "enable ") {
		t.Errorf("a service is started, without a preset that says so: %q", log)
	}

	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	setActive(t, r.root, "lxcfs.service", "authz-broker.service")
	r.rpm(t, append([]string{"-U"}, binaryRPMs(t, shared.later)...)...)
	checkPrograms(t, r.root, laterVersion)
	checkModes(t, r.root)
	checkOwn(t, r.root, "")
	log = calls(t, r.root)
	if !strings.Contains(log, "reload lxcfs.service") || ownMacros && !strings.Contains(log, "try-restart authz-broker.service") {
		t.Errorf("in an upgrade systemctl was told %q", log)
	}
	if strings.Contains(log, "disable") || strings.Contains(log, "stop") || strings.Contains(log, "restart lxcfs") {
		t.Errorf("lxcfs is stopped in an upgrade: %q", log)
	}
	if out, err := exec.Command("rpm", "--root", r.root, "-V", "palisade-authz-broker").CombinedOutput(); err == nil || !strings.Contains(string(out), " c /"+policyFile) {
		t.Errorf("rpm -V does not say that the policies were changed: %v, %s", err, out)
	}

	r.rpm(t, "-e", "palisade-lxc", "palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-userns-shift", "palisade-authz-broker")
	checkOwn(t, r.root, ".rpmsave")
	if log = calls(t, r.root); ownMacros && (!strings.Contains(log, "disable --now lxcfs.service") || !strings.Contains(log, "disable --now authz-broker.service authz-broker.socket")) {
		t.Errorf("in a removal systemctl was told %q", log)
	}
	checkRemains(t, r.root, before, "/"+policyFile+".rpmsave", "/"+isuladHook+".rpmsave")
}

// checkOwn makes sure that the administrator's files have what he has written.
func checkOwn(t *testing.T, root, suffix string) {
	t.Helper()
	for path, want := range map[string]string{policyFile: ownPolicy, isuladHook: ownHook} {
		if got := read(t, filepath.Join(root, path+suffix)); got != want {
			t.Errorf("%s%s is %q", path, suffix, got)
		}
	}
	if info, err := os.Stat(filepath.Join(root, policyFile+suffix)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the policies: %v %v", info.Mode(), err)
	}
}

// checkRemains makes sure that after a removal there are only some files, and directories that others use as well.
func checkRemains(t *testing.T, root string, before []string, kept ...string) {
	t.Helper()
	for _, path := range tree(t, root, append(before, kept...)) {
		info, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() || strings.Contains(path, "palisade") {
			t.Errorf("%s is left behind", path)
		}
	}
}

// TestRPMForeignFiles installs the packages where an administrator has the files already.
func TestRPMForeignFiles(t *testing.T) {
	r := newRPMRoot(t)
	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	checkOwn(t, r.root, "")
	if text := read(t, filepath.Join(r.root, policyFile+".rpmnew")); !strings.Contains(text, `"local":true`) {
		t.Errorf("the new policies are %s", text)
	}
}
