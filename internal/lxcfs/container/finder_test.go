package container

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

// newTestFinder returns a Finder of the host's processes, without cgroups.
func newTestFinder(t *testing.T) *Finder[int] {
	t.Helper()
	proc, err := sys.OpenDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.Close() })
	f := &Finder[int]{proc: proc}
	f.principals.held = make(map[principalKey]*Principal)
	var s Scratch
	if f.hostPidNS, err = namespace(proc, uint32(os.Getpid()), "pid", &s); err != nil {
		t.Fatal(err)
	}
	return f
}

// startInit starts the init of a new pid namespace.
func startInit(t *testing.T) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a pid namespace needs root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait() // it was killed
}

// TestPrincipalIsPinned ends a container whose principal is held: the inode number of its pid
// namespace must not be reused by the next one.
func TestPrincipalIsPinned(t *testing.T) {
	f := newTestFinder(t)
	first := startInit(t)
	p := f.Principal(uint32(first.Process.Pid), 0)
	if p.key.ns == 0 {
		t.Fatalf("the principal is the user %d", p.key.uid)
	}
	end(first)
	for range 3 {
		next := startInit(t)
		q := f.Principal(uint32(next.Process.Pid), 0)
		if q == p || q.key.ns == p.key.ns {
			t.Errorf("pid namespace %d is that of another container", q.key.ns)
		}
		q.Release()
		end(next)
	}
	p.Release()
	if n := len(f.principals.held); n != 0 {
		t.Errorf("%d principals are left after the last Release", n)
	}
}

// TestSearchInit finds an init by a scan of all processes, as on kernels without the ioctl, and
// checks the pause after a long scan.
func TestSearchInit(t *testing.T) {
	f := newTestFinder(t)
	init := startInit(t)
	var s Scratch
	pidNS, err := namespace(f.proc, uint32(init.Process.Pid), "pid", &s)
	if err != nil {
		t.Fatal(err)
	}
	// A process that has entered the namespace has no ancestor in it.
	for range 2 {
		if pid, err := f.searchInit(pidNS, os.Getpid()); pid != init.Process.Pid || err != nil {
			t.Errorf("got %d, %v, want %d", pid, err, init.Process.Pid)
		}
	}
	f.scan.next = time.Now().Add(time.Hour)
	if pid, err := f.searchInit(pidNS, os.Getpid()); pid != init.Process.Pid || err != nil {
		t.Errorf("from the last look: %d, %v, want %d", pid, err, init.Process.Pid)
	}
	if _, err := f.searchInit(1, os.Getpid()); unlessGone(err) == nil {
		t.Errorf("another look: %v", err)
	}
	end(init)
	if pid, err := f.searchInit(pidNS, os.Getpid()); err == nil {
		t.Errorf("process %s has ended: %d", strconv.Itoa(init.Process.Pid), pid)
	}
}
