package toolkit

import (
	"errors"
	"slices"
	"strconv"
	"syscall"

	"palisade/internal/inject/engine"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

type process struct{ mnt, pid uint64 }

// scanned is the result of a walk through /proc: all mount namespaces except the caller's, and all
// pid namespaces below the caller's.
type scanned struct {
	proc   sys.File // to be closed
	own    process
	mounts map[uint64]*mountNamespace
	pids   map[uint64]*pidNamespace
}

// mountNamespace is a mount namespace with all its processes, which may end at any time.
type mountNamespace struct {
	inode uint64
	// pidNS is the pid namespace of its first process outside the caller's, or else the caller's.
	pidNS uint64
	pids  []int
}

type pidNamespace struct {
	// parent is its parent namespace, 0 if unknown.
	parent uint64
	// creator is the user who created it.
	creator uint32
	// init is the pid of its init, 0 if unknown.
	init int
}

func scanNamespaces() (*scanned, error) {
	proc, err := sys.OpenDir("/proc")
	if err != nil {
		return nil, err
	}
	s := &scanned{
		proc:   proc,
		mounts: make(map[uint64]*mountNamespace),
		pids:   make(map[uint64]*pidNamespace),
	}
	pids, err := sys.ListNumbers("/proc")
	if err == nil {
		s.own, err = namespacesOf(proc, "thread-self")
	}
	if err != nil {
		proc.Close()
		return nil, err
	}
	slices.Sort(pids)
	for _, pid := range pids {
		p, err := namespacesOf(proc, strconv.Itoa(pid))
		if err != nil {
			continue // it has ended, or is a zombie
		}
		if p.pid != s.own.pid {
			s.addPIDNamespace(pid, p.pid)
		}
		if p.mnt == s.own.mnt {
			continue
		}
		m, ok := s.mounts[p.mnt]
		if !ok {
			m = &mountNamespace{inode: p.mnt, pidNS: p.pid}
			s.mounts[p.mnt] = m
		}
		if m.pidNS == s.own.pid {
			m.pidNS = p.pid
		}
		m.pids = append(m.pids, pid)
	}
	return s, nil
}

// addPIDNamespace records the pid namespace of a process, and the process if it is the init.
func (s *scanned) addPIDNamespace(pid int, inode uint64) {
	ns, ok := s.pids[inode]
	if !ok {
		var err error
		if ns, err = openPIDNamespace(s.proc, pid, inode); err != nil {
			return // the process has ended
		}
		s.pids[inode] = ns
	}
	if ns.init != 0 {
		return
	}
	text, err := s.proc.ReadFileAt(strconv.Itoa(pid)+"/status", nil)
	if err != nil {
		return
	}
	status, err := procfs.ParseTaskStatus(text)
	if ids := status.NSPids; err == nil && len(ids) > 0 && ids[len(ids)-1] == 1 {
		ns.init = pid
	}
}

// openPIDNamespace returns the parent and the creator of the pid namespace of a process. It fails
// if the namespace does not have the inode number.
func openPIDNamespace(proc sys.File, pid int, inode uint64) (*pidNamespace, error) {
	ns, err := proc.OpenAt(strconv.Itoa(pid) + "/ns/pid")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if now, err := ns.Inode(); err != nil || now != inode {
		return nil, errors.Join(syscall.ESRCH, err)
	}
	p := new(pidNamespace)
	if p.creator, err = ns.Creator(); err != nil {
		return nil, err
	}
	parent, err := ns.ParentNamespace()
	if err != nil {
		return p, nil
	}
	defer parent.Close()
	p.parent, err = parent.Inode()
	return p, err
}

// maxDepth is the maximum depth of pid namespaces (MAX_PID_NS_LEVEL).
const maxDepth = 32

// inits returns the inits of the pid namespaces directly below the caller's, and of those whose
// parent is unknown (before Linux 4.9).
func (s *scanned) inits() []engine.Init {
	var inits []engine.Init
	for inode, ns := range s.pids {
		if ns.init != 0 && (ns.parent == s.own.pid || ns.parent == 0) {
			look := func(process sys.File) ([]byte, error) { return inspect(process, inode) }
			inits = append(inits, engine.Init{PID: ns.init, Creator: ns.creator, Inspect: look})
		}
	}
	return inits
}

// inspect returns /proc/<pid>/cgroup of the init of a pid namespace as seen in the init's own
// cgroup namespace, nil if that is the caller's.
func inspect(process sys.File, pidNS uint64) (cgroups []byte, err error) {
	if inode, err := readNamespace(process, "ns/pid"); err != nil || inode != pidNS {
		return nil, errors.Join(syscall.ESRCH, err)
	}
	inner, err := process.OpenAt("ns/cgroup")
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	inode, err := inner.Inode()
	if err != nil {
		return nil, err
	}
	if own, err := sys.Stat("/proc/thread-self/ns/cgroup"); err != nil || own.Number == inode {
		return nil, err
	}
	var readErr error
	err = sys.InCgroupNamespace(inner, func() { cgroups, readErr = process.ReadFileAt("cgroup", nil) })
	return cgroups, errors.Join(err, readErr)
}

func namespacesOf(proc sys.File, name string) (process, error) {
	var p process
	var err1, err2 error
	p.mnt, err1 = readNamespace(proc, name+"/ns/mnt")
	p.pid, err2 = readNamespace(proc, name+"/ns/pid")
	return p, errors.Join(err1, err2)
}

func readNamespace(proc sys.File, name string) (uint64, error) {
	return proc.ReadNamespace([]byte(name+"\x00"), make([]byte, 64))
}
