package container

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"

	"palisade/internal/linux/sys"
)

// namespaceInit returns the pid of the init of the pid namespace ns, which has the inode number
// inode and the thread tid.
func (f *Finder[S]) namespaceInit(ns sys.File, inode uint64, tid int) (int, error) {
	pid, err := ns.NamespaceInit()
	if err == nil || !errors.Is(err, syscall.ENOTTY) {
		return pid, err
	}
	return f.searchInit(inode, tid)
}

// searchInit finds the init of a pid namespace on kernels before 6.11: among the ancestors of the
// thread tid, or if that entered the namespace from outside, among all processes.
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
	f.scan.mu.Lock()
	defer f.scan.mu.Unlock()
	if pid := f.scan.inits[inode]; pid != 0 {
		if _, isInit, err := f.isInit(pid, inode); err == nil && isInit {
			return pid, nil
		}
	}
	began := time.Now()
	if began.Before(f.scan.next) {
		return 0, fmt.Errorf("find the init of pid namespace %d: %w", inode, errScanned)
	}
	inits, err := f.allInits()
	if took := time.Since(began); took > quickScan {
		f.scan.next = time.Now().Add(min(restAfterScan*took, maxRestAfterScan))
	}
	if f.scan.inits = inits; err == nil && inits[inode] == 0 {
		err = fmt.Errorf("find the init of pid namespace %d: %w", inode, syscall.ESRCH)
	}
	return inits[inode], err
}

// initScan limits scans of all processes of the host for inits. Any container can create many
// processes, and readers whose init only a scan finds.
type initScan struct {
	mu    sync.Mutex
	inits map[uint64]int // pids of the last scan, by inode number of the pid namespace
	next  time.Time      // earliest time of the next scan
}

const (
	// quickScan is the duration of a scan after which no pause is needed. After a longer scan, the
	// pause is restAfterScan times its duration, at most maxRestAfterScan.
	quickScan        = 5 * time.Millisecond
	restAfterScan    = 20
	maxRestAfterScan = 10 * time.Second
)

var errScanned = errors.New("all processes were scanned a moment ago")

// allInits returns the pids of the inits of all pid namespaces below the daemon's, by inode number
// of the namespace.
func (f *Finder[S]) allInits() (map[uint64]int, error) {
	names, err := f.proc.List()
	if err != nil {
		return nil, err
	}
	inits := make(map[uint64]int)
	var s Scratch
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 0 {
			continue
		}
		inode, err := namespace(f.proc, uint32(pid), "pid", &s)
		if err != nil || inode == f.hostPidNS {
			continue
		}
		if _, isInit, err := f.isInit(pid, inode); err == nil && isInit {
			inits[inode] = pid
		}
	}
	return inits, nil
}

// isInit returns the parent of a process and reports whether the process is the init of the pid
// namespace with the inode number. It fails with ESRCH if the process is in another namespace.
func (f *Finder[S]) isInit(pid int, inode uint64) (parent int, isInit bool, err error) {
	var s Scratch
	ns, err := namespace(f.proc, uint32(pid), "pid", &s)
	if err != nil {
		return 0, false, err
	}
	if ns != inode {
		return 0, false, syscall.ESRCH
	}
	status, err := readStatus(f.proc, pid, &s)
	pids := status.NSPids
	return status.Parent, len(pids) > 0 && pids[len(pids)-1] == 1, err
}
