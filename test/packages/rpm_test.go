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

// TestReproducible checks that a second build gives the same files.
func TestReproducible(t *testing.T) {
	built := append(files(t, shared.first, "*.rpm", 8), files(t, shared.first, "*.deb", 7)...)
	for _, path := range append(built, files(t, shared.first, "*.tar.gz", 1)...) {
		again := filepath.Join(shared.again, filepath.Base(path))
		if sha256.Sum256([]byte(read(t, path))) != sha256.Sum256([]byte(read(t, again))) {
			t.Errorf("%s differs when built again", filepath.Base(path))
		}
	}
}

func TestRpmlint(t *testing.T) {
	args := append([]string{"-r", repository + "/rpm/palisade.rpmlintrc", repository + "/rpm/palisade.spec"}, files(t, shared.first, "*.rpm", 8)...)
	out, err := exec.Command("rpmlint", args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 errors") {
		t.Errorf("%v: %s", err, out)
	}
}

// binaryRPMs returns the rpms except the source.
func binaryRPMs(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, dir, "*.rpm", 8), func(path string) bool { return strings.HasSuffix(path, ".src.rpm") })
}

const queryFiles = `[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILELINKTOS}\n]`

// TestRPMFiles compares the files in the packages with the lists in testdata.
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

// TestRPMDependencies checks what the packages require, obsolete and provide.
func TestRPMDependencies(t *testing.T) {
	release := version + "-1" + strings.TrimSpace(run(t, "rpm", "--eval", "%{?dist}"))
	for name, want := range map[string]string{
		"lxcfs":         "/bin/sh palisade-lxcfs-toolkit = " + release,
		"lxc":           "/bin/sh palisade-lxcfs = " + release,
		"lxcfs-toolkit": "/bin/sh", "tools": "", "nri": "/bin/sh", "userns-shift": "/bin/sh", "authz-broker": "/bin/sh",
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
		"lxcfs": "lxcfs < 8", "lxc": "lxcfs < 8", "lxcfs-toolkit": "lxcfs-tools < 1", "tools": "", "nri": "", "userns-shift": "", "authz-broker": "authz < 1",
	} {
		path := files(t, shared.first, "palisade-"+name+"-0*.rpm", 1)[0]
		if got := strings.TrimSpace(run(t, "rpm", "-qp", "--obsoletes", path)); got != want {
			t.Errorf("%s obsoletes %q, want %q", name, got, want)
		}
		if provides := run(t, "rpm", "-qp", "--provides", path); want != "" && name != "lxc" && !strings.Contains(provides, strings.Replace(want, "<", "=", 1)+"\n") {
			t.Errorf("%s obsoletes %s, but provides %s", name, want, provides)
		}
	}
}

// rpmRoot is a root in which a package provides the shell of newRoot.
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

// TestRPM checks installation, verification, upgrade and removal of the rpms.
func TestRPM(t *testing.T) {
	r := newRPMRoot(t)
	before := tree(t, r.root, nil)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	checkPrograms(t, r.root, version)
	checkModes(t, r.root)
	for _, name := range programs {
		if out := r.rpm(t, "-V", packageOf(name)); out != "" {
			t.Errorf("%s: rpm -V: %s", name, out)
		}
	}
	// A distribution's own macros call a helper that this root lacks.
	ownMacros := strings.TrimSpace(run(t, "rpm", "--eval", "%{?systemd_post:yes}")) == ""
	log := calls(t, r.root)
	for _, want := range []string{"preset lxcfs.service", "preset authz-broker.service authz-broker.socket"} {
		if ownMacros && !strings.Contains(log, want) {
			t.Errorf("got systemctl calls %q, want %q", log, want)
		}
	}
	if strings.Contains(log, "start") || strings.Contains(log, "enable ") {
		t.Errorf("a service is enabled or started without a preset: %q", log)
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
		t.Errorf("got systemctl calls %q in an upgrade", log)
	}
	if strings.Contains(log, "disable") || strings.Contains(log, "stop") || strings.Contains(log, "restart lxcfs") {
		t.Errorf("an upgrade stops lxcfs: %q", log)
	}
	if out, err := exec.Command("rpm", "--root", r.root, "-V", "palisade-authz-broker").CombinedOutput(); err == nil || !strings.Contains(string(out), " c /"+policyFile) {
		t.Errorf("rpm -V does not report the changed policies: %v, %s", err, out)
	}

	r.rpm(t, "-e", "palisade-lxc", "palisade-lxcfs", "palisade-lxcfs-toolkit", "palisade-tools", "palisade-nri", "palisade-userns-shift", "palisade-authz-broker")
	checkOwn(t, r.root, ".rpmsave")
	if log = calls(t, r.root); ownMacros && (!strings.Contains(log, "disable --now lxcfs.service") || !strings.Contains(log, "disable --now authz-broker.service authz-broker.socket")) {
		t.Errorf("got systemctl calls %q in a removal", log)
	}
	checkRemains(t, r.root, before, "/"+policyFile+".rpmsave", "/"+isuladHook+".rpmsave")
}

// checkOwn checks that the administrator's files are unchanged.
func checkOwn(t *testing.T, root, suffix string) {
	t.Helper()
	for path, want := range map[string]string{policyFile: ownPolicy, isuladHook: ownHook} {
		if got := read(t, filepath.Join(root, path+suffix)); got != want {
			t.Errorf("%s%s: got %q, want %q", path, suffix, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(root, policyFile+suffix)); err != nil || info.Mode() != 0o600 {
		t.Errorf("policies: got mode %v, %v, want 0600", info.Mode(), err)
	}
}

// checkRemains checks that a removal leaves only the files in kept and directories shared with
// other packages.
func checkRemains(t *testing.T, root string, before []string, kept ...string) {
	t.Helper()
	for _, path := range tree(t, root, append(before, kept...)) {
		info, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() || strings.Contains(path, "palisade") {
			t.Errorf("%s remains", path)
		}
	}
}

// TestRPMForeignFiles checks that an installation keeps existing files of an administrator.
func TestRPMForeignFiles(t *testing.T) {
	r := newRPMRoot(t)
	write(t, filepath.Join(r.root, policyFile), ownPolicy, 0o600)
	write(t, filepath.Join(r.root, isuladHook), ownHook, 0o644)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	checkOwn(t, r.root, "")
	if text := read(t, filepath.Join(r.root, policyFile+".rpmnew")); !strings.Contains(text, `"local":true`) {
		t.Errorf("got new policies %s", text)
	}
}
