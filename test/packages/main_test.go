//go:build integration

// Package packages tests the rpms and debs, built as by `make rpm` and `make deb`: it installs,
// upgrades and removes them in temporary roots, as root.
package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/ctr"
)

// shared holds directories with the packages of a version, of the same version built again, and of
// a later version, and their parent.
var shared struct{ dir, first, again, later string }

const (
	version      = "0.1~test1"
	laterVersion = "0.1~test2"
	repository   = "../.."
)

var programs = []string{"lxcfs", "lxcfs-toolkit", "palisade", "palisade-nri", "userns-shift", "authz-broker"}

// packageOf returns the name of the package with a program.
func packageOf(program string) string {
	if program == "palisade" {
		return "palisade-tools"
	}
	return "palisade-" + strings.TrimPrefix(program, "palisade-")
}

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "packages", Setup: setUp, Programs: []string{
		"rpmbuild", "rpm", "rpmlint", "dpkg", "dpkg-deb", "systemd-analyze", "busybox", "strace",
		"unshare", "runc", "zsh", "make", "gzip", "curl",
	}}
	suite.Run(m)
}

func setUp(_ context.Context, dir string) (cleanup func() error, err error) {
	shared.dir = dir
	shared.first, shared.again, shared.later = filepath.Join(dir, "1"),
		filepath.Join(dir, "some/where/else"), filepath.Join(dir, "2")
	if err := build(shared.first, version); err != nil {
		return nil, err
	}
	// Directory, time zone, locale, user and umask must not matter.
	if err := build(shared.again, version, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "TMPDIR="+dir,
		"USER=somebody", "HOSTNAME=elsewhere"); err != nil {
		return nil, err
	}
	return nil, build(shared.later, laterVersion)
}

// build builds the packages in a directory. Only source.sh, which downloads Go modules, has a
// network.
func build(dir, version string, env ...string) error {
	const script = `umask 0022; [ -z "${USER:-}" ] || umask 0077
rpm/source.sh "$1" "$2" && unshare --net rpm/rpm.sh "$1" "$2" && unshare --net rpm/deb.sh "$1" "$2"`
	cmd := exec.Command("sh", "-c", script, "sh", version, dir)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), append([]string{"USER=", "SOURCE_DATE_EPOCH=1700000000"}, env...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", version, err, out)
	}
	return nil
}

// files returns the files in a directory that match a pattern, and checks their number.
func files(t *testing.T, dir, pattern string, count int) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != count {
		t.Fatalf("%s: got %q, %v, want %d", pattern, found, err, count)
	}
	return found
}

// run runs a program, which must succeed, and returns its output.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
