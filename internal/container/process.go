package container

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// process is a process that cannot be taken for another: its directory in /proc stays that of this process when the pid
// is given to a new one.
type process struct {
	pid int
	// dir is /proc/<pid>; cgroup its file of that name.
	dir, cgroup sys.File
	// pidfd tells of the process's end; not open before Linux 5.3.
	pidfd sys.File
	// start is its start, as the time since boot.
	start time.Duration
	// parent is the pid of its parent when it was pinned.
	parent int
	// depth is how many pid namespaces lie between the daemon's and its own.
	depth int
}

// pin holds the process that has the pid now.
func pin(proc sys.File, pid int) (process, error) {
	p := process{pid: pid}
	err := p.open(proc)
	if err != nil {
		p.close()
		return process{}, fmt.Errorf("pin process %d: %w", pid, err)
	}
	return p, nil
}

func (p *process) open(proc sys.File) (err error) {
	if p.dir, err = proc.OpenDirAt(strconv.Itoa(p.pid)); err != nil {
		return err
	}
	if p.pidfd, err = sys.OpenPidfd(p.pid); err != nil && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	// The directory is of the process that the pidfd names only if it is readable still: a dead one's is not.
	if p.cgroup, err = p.dir.OpenAt("cgroup"); err != nil {
		return err
	}
	stat, text, err := procfs.ReadTaskStat(p.dir, p.pid, nil)
	if err != nil {
		return err
	}
	p.start = stat.Start
	if text, err = p.dir.ReadFileAt("status", text); err != nil {
		return err
	}
	status, err := procfs.ParseTaskStatus(text)
	p.parent, p.depth = status.Parent, max(len(status.NSPids)-1, 0)
	return err
}

func (p *process) close() {
	p.dir.Close()
	p.cgroup.Close()
	p.pidfd.Close()
}

// alive tells whether the process has not ended; a zombie has.
func (p *process) alive() bool {
	if p.pidfd.IsOpen() {
		return !p.pidfd.Ready()
	}
	stat, _, err := procfs.ReadTaskStat(p.dir, p.pid, nil)
	return err == nil && stat.State != 'Z' && stat.State != 'X'
}
