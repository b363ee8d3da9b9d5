//go:build integration

package toolkit

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// TestUpgradeCommand has the worker replaced; where lxcfs is not there, or its program is broken, it fails.
func TestUpgradeCommand(t *testing.T) {
	h := newHost(t)
	if r := h.run(t, "", "upgrade"); r.Code != 1 || !strings.Contains(r.Stderr, "not mounted") {
		t.Errorf("without lxcfs: %+v", r)
	}
	h.start(t)
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	before, err := h.daemon.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	r := h.must(t, "upgrade")
	after, err := h.daemon.WorkerPID()
	if err != nil || after == before || !strings.Contains(r.Stdout, "process "+strconv.Itoa(after)) {
		t.Errorf("process %d after %d: %+v, %v", after, before, r, err)
	}
	checkVirtual(t, h, c, 64*mib)
	for _, args := range [][]string{{"upgrade", "now"}, {"upgrade", "--timeout", "0s"}} {
		if r := h.run(t, "", args...); r.Code != 2 {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// TestGivesUp kills workers before they serve, over and over: lxcfs ends, and containers have the host's files.
func TestGivesUp(t *testing.T) {
	h := newHost(t)
	// The program is looked for beside lxcfs.
	dir := t.TempDir()
	lxcfs := filepath.Join(dir, "lxcfs")
	for name, program := range map[string]string{"lxcfs": shared.lxcfs, "lxcfs-toolkit": shared.toolkit} {
		if err := os.Link(program, filepath.Join(dir, name)); err != nil {
			if text, err2 := os.ReadFile(program); err2 != nil || os.WriteFile(filepath.Join(dir, name), text, 0o755) != nil {
				t.Fatal(err, err2)
			}
		}
	}
	d, err := ctr.StartDaemon(t.Context(), lxcfs, filepath.Dir(h.mountpoint))
	if err != nil {
		t.Fatal(err)
	}
	h.daemon = d
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	checkVirtual(t, h, c, 64*mib)
	killed := 0
	for deadline := time.Now().Add(time.Minute); d.Signal(syscall.Signal(0)) == nil; {
		log := d.Log()
		if time.Now().After(deadline) {
			t.Fatalf("the daemon does not end: %s", log)
		}
		// The log may be behind: what runs after the last worker is lxcfs-toolkit, which is not to be killed.
		if strings.Count(log, "the worker ended") < killed || strings.Contains(log, "failures=16") {
			time.Sleep(time.Millisecond)
			continue
		}
		if pid, err := d.WorkerPID(); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	h.daemon = nil
	if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
		t.Errorf("the container has %q; the log: %s", got, d.Log())
	}
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	if text := inside(t, c, "head", "-n", "1", "/proc/meminfo"); !strings.HasPrefix(string(total), text) {
		t.Errorf("the container reads %q", text)
	}
}
