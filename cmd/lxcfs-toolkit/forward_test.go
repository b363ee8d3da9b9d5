package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newForwarder returns the path of a copy of this test program, called lxcfs-toolkit, which
// TestMain runs as that.
func newForwarder(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "lxcfs-toolkit")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "lxcfs-toolkit" {
		main()
	}
	os.Exit(m.Run())
}

// TestForward runs doctor and top with palisade beside the program, in PATH, writable by all users,
// and missing.
func TestForward(t *testing.T) {
	const script = "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n"
	const missing = "lxcfs-toolkit: the program palisade is missing: install the package palisade-tools\n"
	for _, tt := range []struct {
		name, args  string
		beside      bool
		inPath      bool
		mode        os.FileMode
		out, stderr string
		code        int
	}{
		{name: "beside", args: "doctor", beside: true, mode: 0o755, out: "doctor|", code: 7},
		{name: "options", args: "--mountpoint /m/ --json --runtime-dir=/r doctor --engine lxc --log /l --help",
			beside: true, mode: 0o755, code: 7,
			out: "--mountpoint|/m|--runtime-dir|/r|--json|doctor|--engine|lxc|--log|/l|--help|"},
		{name: "in PATH", args: "top --once -- x", inPath: true, mode: 0o700, out: "top|--once|--|x|", code: 7},
		{name: "writable", args: "top", beside: true, inPath: true, mode: 0o777, stderr: missing, code: 1},
		{name: "missing", args: "doctor --json", stderr: missing, code: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, path := t.TempDir(), t.TempDir()
			for _, place := range []struct {
				dir string
				has bool
			}{{dir, tt.beside}, {path, tt.inPath}} {
				if !place.has {
					continue
				}
				program := filepath.Join(place.dir, "palisade")
				err := os.WriteFile(program, []byte(script), tt.mode)
				if err == nil {
					err = os.Chmod(program, tt.mode)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(newForwarder(t, dir), strings.Fields(tt.args)...)
			cmd.Env = []string{"PATH=" + path, "GOCOVERDIR=" + t.TempDir()}
			var out, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != tt.code {
				t.Errorf("%v, want the exit code %d", err, tt.code)
			}
			if out.String() != tt.out || stderr.String() != tt.stderr {
				t.Errorf("got %q and %q, want %q and %q", &out, &stderr, tt.out, tt.stderr)
			}
		})
	}
}
