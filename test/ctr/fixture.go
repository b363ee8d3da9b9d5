package ctr

import (
	"bufio"
	"os/exec"
	"testing"
)

// NewDaemon starts a daemon as StartDaemon does, and stops it after the test.
func NewDaemon(t testing.TB, path, dir string, flags ...string) *Daemon {
	t.Helper()
	d, err := StartDaemon(t.Context(), path, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if log := d.Log(); t.Failed() {
			t.Logf("the log of %s: %s", d.Mountpoint, log[max(0, len(log)-5000):])
		}
	})
	return d
}

// StartReady starts a program that is killed after the test, and returns its first line of output.
func StartReady(t testing.TB, cmd *exec.Cmd) (line string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // may have exited
		cmd.Wait()         // returns the signal
	})
	if line, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q prints %q: %v", cmd.Args, line, err)
	}
	return line
}
