// Package container finds the container of a reader: from the thread id of a request to a pid
// namespace, the init of that namespace, and the container's cgroup. Cached containers are pinned
// (namespace, process and cgroup files are open), so a reused pid or inode number cannot show one
// container the values of another.
//
// The rules:
//   - A reader in a pid namespace below ours belongs to the container of that namespace's init.
//   - That container's cgroup is the root of its init's cgroup namespace. If init shares the
//     namespace with the init of the pid namespace above, or with us, it is init's own cgroup.
//   - A reader in that namespace with a mount namespace that is neither init's nor ours, and a
//     cgroup that is not below init's, is another container that shares the pid namespace
//     (Kubernetes' shareProcessNamespace, --pid=container:x). Mount namespaces are not pinned,
//     since that would keep their mounts alive: their inode numbers are compared with init's while
//     both processes exist, and never stored.
//   - A reader in our own pid namespace belongs to a container only if a container runtime created
//     its cgroup.
package container

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// Container is a container found by Find. It is valid until Release.
type Container[S any] struct {
	// Group is the container's cgroup.
	Group *cgroup.Group
	// State is for use by the Finder's owner. It is kept if init moves to another cgroup.
	State *S

	identity
	// principal is charged for the work for this container. It owns pidNS if that is its ns.
	principal *Principal
	// reserved is the number of its descriptors that are reserved.
	reserved int
	// listed reports that a reader was found in this container. A container that is cached only
	// because others share its pid namespace is not listed.
	listed atomic.Bool

	// refs counts the holders, including the cache. used and checked are the times of the last use
	// and of the last check of the leader's cgroup, by Finder.clock.
	refs          atomic.Int32
	used, checked atomic.Int64
}

// InitPID returns the pid, in the daemon's pid namespace, of the container's init, or of its oldest
// process if it has no pid namespace of its own.
func (c *Container[S]) InitPID() int { return c.leader.pid }

// InitDir returns the open directory /proc/<InitPID>. The caller must not close it.
func (c *Container[S]) InitDir() sys.File { return c.leader.dir }

// Start returns the start time of that process, since boot.
func (c *Container[S]) Start() time.Duration { return c.leader.start }

// PIDInside returns the id of the thread tid in the container's pid namespace, or 0 if the thread
// is not in it.
func (c *Container[S]) PIDInside(proc sys.File, tid int, s *Scratch) (int, error) {
	if c.pidNS.IsOpen() {
		if pid, err := c.pidNS.PIDInNamespace(tid); !errors.Is(err, syscall.ENOTTY) {
			return pid, err
		}
	}
	status, err := readStatus(proc, tid, s)
	if err != nil || c.leader.depth >= len(status.NSPids) {
		return 0, err
	}
	return status.NSPids[c.leader.depth], nil
}

// PIDNamespace returns the inode number of the container's pid namespace. It is not reused while
// the caller holds c.
func (c *Container[S]) PIDNamespace() uint64 { return c.key.pidNS }

// Principal returns the principal that is charged for work for the container. It is valid while the
// caller holds c.
func (c *Container[S]) Principal() *Principal { return c.principal }

// Name returns the path of the cgroup, for messages.
func (c *Container[S]) Name() string { return c.paths.Name() }

// Acquire holds c until one more Release. The caller must hold it already.
func (c *Container[S]) Acquire() { c.refs.Add(1) }

// Release ends one hold of c.
func (c *Container[S]) Release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	c.Group.Close()
	c.leader.Close()
	if c.ownsPIDNS() {
		c.pidNS.Close()
	}
	c.principal.Release()
	sys.AddReservedFDs(-c.reserved)
}

// ownsPIDNS reports whether pidNS is open and not the principal's.
func (c *Container[S]) ownsPIDNS() bool { return c.pidNS.IsOpen() && c.pidNS != c.principal.ns }

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
