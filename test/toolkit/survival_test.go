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

// TestUpgradeCommand checks that upgrade replaces the worker, and fails without lxcfs.
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
		t.Errorf("got worker %d after %d: %+v, %v", after, before, r, err)
	}
	checkVirtual(t, h, c, 64*mib)
	for _, args := range [][]string{{"upgrade", "now"}, {"upgrade", "--timeout", "0s"}} {
		if r := h.run(t, "", args...); r.Code != 2 {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// TestGivesUp checks that lxcfs exits if its workers crash again and again, and that containers then
// have the host's files.
func TestGivesUp(t *testing.T) {
	h := newHost(t)
	// lxcfs looks for lxcfs-toolkit in its directory.
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
	last := 0
	for deadline := time.Now().Add(time.Minute); d.Signal(syscall.Signal(0)) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("lxcfs does not exit: %s", d.Log())
		}
		// Unlike SIGKILL, this counts as a failure of a worker that has begun to serve, too.
		if pid, err := d.WorkerPID(); err == nil && pid != last && syscall.Kill(pid, syscall.SIGABRT) == nil {
			last = pid
		}
	}
	h.daemon = nil
	if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
		t.Errorf("mounts of lxcfs remain: %q; log: %s", got, d.Log())
	}
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	if text := inside(t, c, "head", "-n", "1", "/proc/meminfo"); !strings.HasPrefix(string(total), text) {
		t.Errorf("the container reads %q, want the host's", text)
	}
}
