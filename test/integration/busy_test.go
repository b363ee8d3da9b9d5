//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// cpuCgroups creates two cgroups: processes in the first get almost no CPU time while processes in
// the second want it.
func cpuCgroups(t *testing.T) (starved, favoured string) {
	t.Helper()
	parent, weight, weights := "", "cpu.shares", [2]string{"2", "262144"}
	if ctr.OnV2() {
		parent = filepath.Join("/sys/fs/cgroup", parentCgroup(t, nil))
		weight, weights = "cpu.weight", [2]string{"1", "10000"}
	} else {
		parent = fmt.Sprintf("/sys/fs/cgroup/cpu/palisade-busy-%d", os.Getpid())
		makeCgroup(t, parent)
	}
	starved, favoured = filepath.Join(parent, "starved"), filepath.Join(parent, "favoured")
	for i, dir := range []string{starved, favoured} {
		makeCgroup(t, dir)
		write(t, filepath.Join(dir, weight), weights[i])
	}
	return starved, favoured
}

// makeCgroup creates a cgroup that is removed after the test, when its processes have exited.
func makeCgroup(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		waitFor(t, "the end of all processes in "+dir, func() bool { return os.Remove(dir) == nil })
	})
}

// TestBusyHost checks that a worker that gets no CPU time for long is not killed as hung.
func TestBusyHost(t *testing.T) {
	starved, favoured := cpuCgroups(t)
	d := newDaemon(t, t.TempDir())
	worker := workerOf(t, d)
	var burners []*exec.Cmd
	stop := func() {
		for _, cmd := range burners {
			cmd.Process.Kill()
			cmd.Wait() // returns the signal
		}
		burners = nil
	}
	defer stop()
	for range 4 * hostCPUs() {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		burners = append(burners, cmd)
		write(t, filepath.Join(favoured, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid))
	}
	write(t, filepath.Join(starved, "cgroup.procs"), strconv.Itoa(worker))
	time.Sleep(8 * time.Second) // four times as long as a worker may be silent
	stop()
	hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
	if got := workerOf(t, d); got != worker || strings.Contains(d.Log(), "does not answer") {
		t.Errorf("got worker %d, want %d: %s", got, worker, d.Log())
	}
}
