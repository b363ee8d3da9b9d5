package container

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"palisade/internal/cgroup"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// maxLeaderCandidates bounds the search for the oldest process of a cgroup.
const maxLeaderCandidates = 1024

// discover works out the container of the thread tid, whose namespaces are key, and remembers it. stale is what the cache
// said, if it is not to be believed any more.
func (f *Finder[S]) discover(tid int, key mountKey, stale *Container[S]) (*Container[S], error) {
	found, err := f.identify(tid, key)
	if err != nil {
		f.drop(stale)
		return nil, unlessGone(err)
	}
	c, err := f.keep(found, stale)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byCgroup[c.key] == c {
		f.remember(c, key)
	}
	return c, nil
}

// remember lets readers with the namespaces of key be recognised as c's; f.mu is held for writing.
func (f *Finder[S]) remember(c *Container[S], key mountKey) {
	if f.byMount[key] == c {
		return
	}
	if len(c.mounts) == maxMounts {
		for _, old := range c.mounts {
			delete(f.byMount, old)
		}
		c.mounts = c.mounts[:0]
	}
	c.mounts = append(c.mounts, key)
	f.byMount[key] = c
}

// identity is what discovery finds: a leader, its pid namespace, and the cgroup of the container.
type identity struct {
	leader process
	pidNS  sys.File
	key    cgroupKey
	paths  cgroup.Paths
	seen   []byte
}

func (id *identity) close() {
	id.leader.close()
	id.pidNS.Close()
}

// identify finds the container of the thread tid by the init of its pid namespace.
func (f *Finder[S]) identify(tid int, key mountKey) (id identity, err error) {
	defer func() {
		if err != nil {
			id.close()
			err = fmt.Errorf("find the container of thread %d: %w", tid, err)
		}
	}()
	if id.pidNS, err = f.proc.OpenAt(strconv.Itoa(tid) + "/ns/pid"); err != nil {
		return id, err
	}
	inode, err := id.pidNS.Inode()
	if err != nil {
		return id, err
	}
	if inode != key.pid {
		return id, syscall.ESRCH // the number is another thread's by now
	}
	init, err := f.namespaceInit(id.pidNS, key.pid, tid)
	if err != nil {
		return id, err
	}
	if id.leader, err = pin(f.proc, init); err != nil {
		return id, err
	}
	var s Scratch
	if inode, err = namespace(id.leader.dir, 0, "pid", &s); err != nil {
		return id, err
	}
	if inode != key.pid {
		return id, syscall.ESRCH
	}
	if err = f.locate(&id); err != nil {
		return id, err
	}
	mountNS, err := namespace(id.leader.dir, 0, "mnt", &s)
	if err == nil && mountNS != key.mount && key.mount != f.hostMountNS { // else: a visitor from the host
		err = f.guest(&id, tid)
	}
	id.key = cgroupKey{key.pid, id.paths.Key()}
	return id, err
}

// locate works out the cgroup that stands for the leader's container: the root of its cgroup namespace, or, where that is
// the daemon's own, its cgroup less the init.scope that systemd makes for itself.
func (f *Finder[S]) locate(id *identity) (err error) {
	if id.seen, err = id.leader.cgroup.ReadText(nil); err != nil {
		return err
	}
	paths, err := f.cgroups.ParsePaths(id.seen)
	if err != nil {
		return err
	}
	id.paths = paths.TrimInit()
	var s Scratch
	inode, err := namespace(id.leader.dir, 0, "cgroup", &s)
	if err != nil || inode == f.hostCgroupNS {
		return unlessGone(err)
	}
	ns, err := id.leader.dir.OpenAt("ns/cgroup")
	if err != nil {
		return err
	}
	defer ns.Close()
	var inside []byte
	var readErr error
	// What the file says depends on the cgroup namespace of the one who reads it (cgroup_namespaces(7)).
	err = sys.InCgroupNamespace(ns, func() { inside, readErr = id.leader.cgroup.ReadText(nil) })
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	relative, err := f.cgroups.ParsePaths(inside)
	if err != nil {
		return err
	}
	id.paths = paths.Root(relative)
	return nil
}

// guest looks whether the thread tid, which has a mount namespace of its own in the pid namespace of id, is of another
// container than init: then id becomes that one's.
func (f *Finder[S]) guest(id *identity, tid int) error {
	text, err := f.proc.ReadFileAt(strconv.Itoa(tid)+"/cgroup", nil)
	if err != nil {
		return err
	}
	reader, err := f.cgroups.ParsePaths(text)
	if err != nil || id.paths.IsAncestorOrSelf(reader) {
		return err
	}
	own := id.paths.ChildOfCommonAncestor(reader)
	if own.IsZero() {
		return nil // the reader is above init: somebody who entered the namespace from outside
	}
	return f.lead(id, own)
}

// lead makes the oldest process of the cgroup the leader of id.
func (f *Finder[S]) lead(id *identity, paths cgroup.Paths) error {
	group := f.cgroups.Open(paths)
	defer group.Close()
	threads, err := group.Threads(nil, maxLeaderCandidates, new(cgroup.Scratch))
	if err != nil {
		return err
	}
	var oldest process
	for _, tid := range threads {
		p, err := pin(f.proc, tid)
		if err != nil {
			continue // ended, or not the first thread of its process
		}
		if oldest.pid != 0 && p.start >= oldest.start {
			p.close()
			continue
		}
		oldest.close()
		oldest = p
	}
	if oldest.pid == 0 {
		return fmt.Errorf("find a process in cgroup %s: %w", paths.Name(), syscall.ESRCH)
	}
	id.leader.close()
	id.leader, id.paths = oldest, paths
	id.seen, err = oldest.cgroup.ReadText(nil)
	return err
}

// namespaceInit finds the init of the pid namespace ns, whose inode number is inode and in which the thread tid lives.
func (f *Finder[S]) namespaceInit(ns sys.File, inode uint64, tid int) (int, error) {
	pid, err := ns.NamespaceInit()
	if err == nil || !errors.Is(err, syscall.ENOTTY) {
		return pid, err
	}
	return f.searchInit(inode, tid)
}

// searchInit finds the init of a pid namespace on kernels before 6.11: among the ancestors of one of its threads, else
// (that one may have entered from outside) among all processes.
func (f *Finder[S]) searchInit(inode uint64, tid int) (int, error) {
	for pid := tid; pid > 0; {
		parent, isInit, err := f.isInit(pid, inode)
		if err != nil {
			break
		}
		if isInit {
			return pid, nil
		}
		pid = parent
	}
	names, err := f.proc.List()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || strings.HasPrefix(name, "0") {
			continue
		}
		if _, isInit, err := f.isInit(pid, inode); err == nil && isInit {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("find the init of pid namespace %d: %w", inode, syscall.ESRCH)
}

// isInit tells the parent of a process, and whether it is called 1 in the pid namespace; it fails where the process is in
// another.
func (f *Finder[S]) isInit(pid int, inode uint64) (parent int, isInit bool, err error) {
	var s Scratch
	ns, err := namespace(f.proc, uint32(pid), "pid", &s)
	if err != nil {
		return 0, false, err
	}
	if ns != inode {
		return 0, false, syscall.ESRCH
	}
	text, err := f.proc.ReadFileAt(strconv.Itoa(pid)+"/status", nil)
	if err != nil {
		return 0, false, err
	}
	status, err := procfs.ParseTaskStatus(text)
	pids := status.NSPids
	return status.Parent, len(pids) > 0 && pids[len(pids)-1] == 1, err
}
