package container

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// Process is a pinned process: its directory in /proc and its pidfd never refer to another process
// that reuses the pid.
type Process struct {
	pid int
	// dir is /proc/<pid>, cgroup the file of that name in it.
	dir, cgroup sys.File
	// pidfd is not open before Linux 5.3.
	pidfd sys.File
	// start is the start time, since boot.
	start time.Duration
	// parent is the pid of its parent when it was pinned.
	parent int
	// depth is the depth of its pid namespace below the daemon's.
	depth int
}

// Pin returns the process with the pid, which the caller must close. It fails for a thread that is
// not a thread-group leader.
func (f *Finder[S]) Pin(pid int) (Process, error) {
	p := Process{pid: pid}
	if err := p.open(f.proc); err != nil {
		p.Close()
		return Process{}, fmt.Errorf("pin process %d: %w", pid, err)
	}
	return p, nil
}

func (p *Process) open(proc sys.File) (err error) {
	if p.dir, err = proc.OpenDirAt(strconv.Itoa(p.pid)); err != nil {
		return err
	}
	if p.pidfd, err = sys.OpenPidfd(p.pid); err != nil && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	// A dead process's directory is not readable, so dir and pidfd are of the same process.
	if p.cgroup, err = p.dir.OpenAt("cgroup"); err != nil {
		return err
	}
	stat, _, err := procfs.ReadTaskStat(p.dir, p.pid, nil)
	if err != nil {
		return err
	}
	p.start = stat.Start
	status, err := procfs.ReadTaskStatus(p.dir)
	p.parent, p.depth = status.Parent, max(len(status.NSPids)-1, 0)
	return err
}

// Start returns the start time of the process, since boot.
func (p *Process) Start() time.Duration { return p.start }

// Close closes the descriptors of the process.
func (p *Process) Close() {
	p.dir.Close()
	p.cgroup.Close()
	p.pidfd.Close()
}

// IsAlive reports whether the process has not ended. A zombie has.
func (p *Process) IsAlive() bool {
	if p.pidfd.IsOpen() {
		return !p.pidfd.Ready()
	}
	stat, _, err := procfs.ReadTaskStat(p.dir, p.pid, nil)
	return err == nil && stat.State != 'Z' && stat.State != 'X'
}
