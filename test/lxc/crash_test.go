//go:build integration

package lxc

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// reader is a program in a container that reads files continuously.
type reader struct{ c *container }

const (
	// notes is the file in which the reader writes its counts.
	notes     = "/tmp/reads"
	readFiles = "/proc/cpuinfo /proc/meminfo /proc/stat /proc/uptime /proc/swaps /proc/loadavg " +
		"/proc/partitions"
)

// newReader starts a reader, and waits until it reads.
func newReader(t *testing.T, c *container) reader {
	t.Helper()
	pause := "1ms"
	if isEmulated() {
		pause = "50ms"
	}
	const script = "rm -f %s.stop; /bin/load watch %[1]s 2 %s %s </dev/null >/dev/null 2>&1 &"
	c.inside(t, "sh", "-c", fmt.Sprintf(script, notes, pause, readFiles))
	r := reader{c}
	r.checkProgress(t)
	return r
}

// counts returns the numbers of reads and of wrong reads.
func (r reader) counts(t *testing.T) (state string, reads, wrong int, text string) {
	t.Helper()
	text = r.c.read(t, notes)
	var began int64
	fmt.Sscan(text, &state, &began, &reads, &wrong) // may be empty yet
	return
}

// checkProgress waits until the reader has read more, and checks that no read was wrong.
func (r reader) checkProgress(t *testing.T) {
	t.Helper()
	_, before, _, _ := r.counts(t)
	engine.WaitFor(t, r.c.name+" to continue to read", func() bool {
		_, reads, _, _ := r.counts(t)
		return reads > before+5
	})
	if _, reads, wrong, text := r.counts(t); wrong > 0 {
		t.Fatalf("%d of %d reads in %s were wrong: %s", wrong, reads, r.c.name, text)
	}
}

// end stops the reader.
func (r reader) end(t *testing.T) {
	t.Helper()
	r.c.inside(t, "touch", notes+".stop")
	engine.WaitFor(t, "the reader to stop", func() bool {
		state, _, _, _ := r.counts(t)
		return state == "ended"
	})
	_, reads, wrong, text := r.counts(t)
	if wrong > 0 {
		t.Errorf("%d of %d reads in %s were wrong: %s", wrong, reads, r.c.name, text)
	}
	t.Logf("%s: %d reads", r.c.name, reads)
}

// kinds starts containers with both hooks, each of them, and an id map.
func (h *host) kinds(t *testing.T) (all []*container) {
	t.Helper()
	common := "lxc.hook.mount = /usr/share/lxcfs/lxc.mount.hook"
	host := "lxc.hook.start-host = /usr/share/palisade/hooks/lxc/start-host"
	clear := []string{"lxc.hook.mount =", "lxc.hook.start-host ="}
	return []*container{
		h.newContainer(t, options{name: "palisade-lxc-both"}),
		h.newContainer(t, options{name: "palisade-lxc-mount", config: append(clear, common)}),
		h.newContainer(t, options{name: "palisade-lxc-host", config: append(clear, host)}),
		h.newContainer(t, options{name: "palisade-lxc-mapped", config: idmap()}),
	}
}

// TestSurvival checks that with systemd's fd store no read fails while lxcfs is killed, upgraded
// and restarted, and that stopping and starting lxcfs replaces the files.
func TestSurvival(t *testing.T) {
	h := newHost(t)
	h.start(t)
	containers := h.kinds(t)
	var readers []reader
	for _, c := range containers {
		readers = append(readers, newReader(t, c))
	}
	checkProgress := func() {
		t.Helper()
		for _, r := range readers {
			r.checkProgress(t)
		}
	}
	worker, err := h.daemon.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	checkProgress()
	h.crash(t, true)
	h.start(t)
	checkProgress()
	h.toolkit(t, "upgrade")
	checkProgress()
	// The next process of the unit takes over the fd store.
	if err := h.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	checkProgress()
	for _, r := range readers {
		r.end(t)
	}
	for _, c := range containers {
		h.checkVirtual(t, c)
	}
	for range 2 {
		h.stop(t)
		containers = append(containers, h.newContainer(t, options{})) // starts without lxcfs, too
		for _, c := range containers {
			h.checkHost(t, c)
		}
		h.start(t)
		for _, c := range containers {
			h.checkVirtual(t, c)
		}
	}
	h.checkRows(t, containers...)
}

// TestCrash checks that after a crash without fd store the next lxcfs restores the files in
// containers.
func TestCrash(t *testing.T) {
	h := newHost(t)
	h.start(t)
	containers := h.kinds(t)
	for range 2 {
		h.crash(t, false)
		for _, c := range containers {
			if out, err := c.exec(t, "cat", "/proc/uptime"); err == nil {
				t.Errorf("%s reads %q from a dead server", c.name, out)
			}
		}
		containers = append(containers, h.newContainer(t, options{})) // starts with a dead lxcfs
		h.start(t)
		for _, c := range containers {
			h.checkVirtual(t, c)
		}
	}
	h.checkRows(t, containers...)
	later := h.newContainer(t, options{})
	h.checkVirtual(t, later)
	h.checkRows(t, append(containers, later)...)
}

// rivalProgram is Debian's lxcfs.
const rivalProgram = "/usr/lib/palisade-lxc-rival/lxcfs"

// TestRival checks that lxcfs takes over containers from Debian's lxcfs, and that this can replace
// it again.
func TestRival(t *testing.T) {
	if _, err := os.Stat(rivalProgram); err != nil {
		t.Fatalf("%v (make deps installs lxcfs)", err)
	}
	h := newHost(t)
	rival, err := ctr.StartRival(t.Context(), rivalProgram, h.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(hookDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(rival.Mountpoint, hookDir, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		rival.Signal(syscall.SIGKILL) // still runs if the test failed
		rival.Unmount()
	})
	onlyHook(t, "lxc.hook.mount")
	c := h.newContainer(t, options{})
	if text := c.memory(t); text != ownMemory {
		t.Fatalf("Debian's lxcfs shows %q", text)
	}
	// The package stops the other lxcfs before it starts ours: meanwhile its mounts are dead.
	if err := rival.Crash(); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	h.checkVirtual(t, c)
	h.checkRows(t, c)
	later := h.newContainer(t, options{})
	h.checkVirtual(t, later)
	h.stop(t)
	h.checkHost(t, c)
	h.checkHost(t, later)
	// Debian's is installed again: new containers have its files.
	back, err := ctr.StartRival(t.Context(), rivalProgram, filepath.Join(h.dir, "back"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := back.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mount(back.Mountpoint, hookDir, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(hookDir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	last := h.newContainer(t, options{})
	if text := last.memory(t); text != ownMemory {
		t.Errorf("Debian's lxcfs shows %q", text)
	}
}
