//go:build integration

// Package userns tests userns-shift with real file systems and processes, as root, in its own
// namespaces. Trees are compared as dumps of all properties that a file system keeps.
package userns

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// shared holds the resources of all tests.
var shared struct{ dir, program string }

func TestMain(m *testing.M) {
	if code, done := ctr.ExecFiltered(); done {
		os.Exit(code)
	}
	if code, done := playRole(); done {
		os.Exit(code)
	}
	suite := ctr.Suite{Name: "userns", Setup: setUp}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	shared.dir = dir
	shared.program, err = ctr.Program(ctx, dir, "userns_shift", "palisade/cmd/userns-shift")
	if err != nil {
		return nil, err
	}
	// The file systems of all tests are mounted once.
	for _, f := range fileSystems {
		if inVM() && f.mkfs != nil {
			continue // its kernel has only file systems in memory
		}
		f.mount()
	}
	return func() (err error) {
		for _, f := range fileSystems {
			if f.dir != "" && f.err == nil {
				err = errors.Join(err, unix.Unmount(f.dir, unix.MNT_DETACH))
			}
		}
		return err
	}, nil
}

// inVM reports whether the tests run in the virtual machine, which has few programs and an emulated
// CPU.
func inVM() bool { return os.Getenv("PALISADE_VM") != "" }

// needPrograms fails a test if a program is missing.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v (make deps installs it)", err)
		}
	}
}
