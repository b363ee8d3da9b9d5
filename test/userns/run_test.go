//go:build integration

package userns

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
)

// result is the result of a program.
type result struct {
	stdout, stderr string
	code           int
}

const remap = "100000:100000:65535"

// commandLine returns a command line of userns-shift with the test's own directories.
func commandLine(t *testing.T, args ...string) []string {
	t.Helper()
	var own []string
	if args[0] != "umount" {
		own = []string{"--state-dir", stateDir(t)}
	}
	if slices.Contains([]string{"shift", "unshift", "check", "mount", "ranges", "runtime"}, args[0]) {
		own = append(own, "--lock-dir", filepath.Join(shared.dir, "lock"))
	}
	return slices.Concat([]string{shared.program, args[0]}, own, args[1:])
}

// stateDir returns the test's state directory.
func stateDir(t *testing.T) string {
	return filepath.Join(shared.dir, "state-"+strings.ReplaceAll(t.Name(), "/", "-"))
}

// call runs userns-shift with a timeout.
func call(t *testing.T, args ...string) result {
	t.Helper()
	line := commandLine(t, args...)
	return runProgram(t, line[0], line[1:]...)
}

func runProgram(t *testing.T, program string, args ...string) result {
	t.Helper()
	// Calls in t.Cleanup must work, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v %v", program, args, err, ctx.Err())
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs userns-shift, which must succeed with no output on stderr except warnings.
func must(t *testing.T, args ...string) result {
	t.Helper()
	r := call(t, args...)
	isSilent := true
	for line := range strings.Lines(r.stderr) {
		isSilent = isSilent && strings.HasPrefix(line, "userns-shift: warning: ")
	}
	if r.code != 0 || !isSilent {
		t.Fatalf("userns-shift %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

func shiftTree(t *testing.T, root string) {
	t.Helper()
	must(t, "shift", "--user-remap", remap, root)
}

// checkRefused checks that a call has failed with one line on stderr that contains all texts.
func checkRefused(t *testing.T, r result, code int, texts ...string) {
	t.Helper()
	if r.code != code || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" {
		t.Fatalf("exit code %d, want %d\nstdout: %q\nstderr: %q", r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("got stderr %q, want %q in it", r.stderr, text)
		}
	}
}

// traced runs userns-shift and counts the changing system calls; call number killAt kills it.
func traced(t *testing.T, killAt int, args ...string) ctr.Traced {
	t.Helper()
	line := commandLine(t, args...)
	r, err := ctr.RunTraced(killAt, changingCalls(), line[0], line[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// waitFor polls a condition, and fails the test with its description after 20 seconds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// lockThread locks the goroutine to its thread, which ends with it.
func lockThread() { runtime.LockOSThread() }
