//go:build integration

// Package userns tests userns-shift with real file systems and processes, as root, in its own
// namespaces. Trees are compared as dumps of all properties that a file system keeps.
package userns

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

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
	ctr.MainIsolated("userns", func() (int, error) { return runAll(m) })
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "palisade-userns-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // for processes of other users
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	shared.dir = dir
	if shared.program, err = ctr.Program(ctx, dir, "userns_shift",
		"palisade/cmd/userns-shift"); err != nil {
		return 1, err
	}
	defer unmountAll()
	return m.Run(), nil
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
