package toolkit

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"palisade/internal/engine"
	"palisade/internal/mounts"
	"palisade/internal/sys"
)

const (
	// engineTime is how long an engine may take to tell its containers.
	engineTime = 3 * time.Second
	// searchTime is how long the search may take for files of lxcfs in namespaces that no engine knows of: everybody who
	// may make some can make thousands, each with as many mounts as he likes.
	searchTime = 10 * time.Second
)

// target is a container with all mount namespaces in which its processes are.
type target struct {
	engine.Container
	spaces []namespace
	// hostMounts tells that it has no mount namespace of its own.
	hostMounts bool
}

// namespace is a mount namespace.
type namespace struct {
	inode uint64
	// pids are processes in it, one of which is enough.
	pids []int
	// nested tells that it was made inside the container.
	nested bool
	// full tells that its /proc is the container's own: it is to have lxcfs's files also if it has none.
	full bool
}

// maxPIDs is how many processes of a namespace are remembered: the first may end at any time.
const maxPIDs = 3

// Running lists the containers that run, as List does, without a look into them.
func (t *Toolkit) Running(ctx context.Context) ([]engine.Container, []engine.Skipped, error) {
	targets, skipped, err := t.find(ctx)
	containers := make([]engine.Container, len(targets))
	for i, g := range targets {
		containers[i] = g.Container
	}
	return containers, skipped, err
}

// find lists the containers that run, as the engines tell, and other namespaces that have files of lxcfs.
func (t *Toolkit) find(ctx context.Context) ([]*target, []engine.Skipped, error) {
	containers, skipped := engine.Find(ctx, engine.Options{
		Run: "/run", Lib: "/var/lib", Etc: "/etc", Proc: "/proc", Registry: t.registry(),
		Isula: "isula", Timeout: engineTime,
	})
	scan, err := scanNamespaces()
	if err != nil {
		return nil, skipped, err
	}
	var targets []*target
	byPIDNamespace := make(map[uint64]*target)
	for _, c := range containers {
		g := &target{Container: c}
		targets = append(targets, g)
		of, ok := scan.byPID[c.PID]
		if !ok {
			continue // it has just ended
		}
		if of.mnt == scan.own.mnt {
			g.hostMounts = true
			continue
		}
		g.spaces = append(g.spaces, namespace{inode: of.mnt, pids: []int{c.PID}, full: true})
		if of.pid != scan.own.pid {
			byPIDNamespace[of.pid] = g
		}
		delete(scan.spaces, of.mnt)
	}
	for inode, space := range scan.spaces {
		if g, ok := byPIDNamespace[space.pid]; ok {
			g.spaces = append(g.spaces, namespace{inode: inode, pids: space.pids, nested: true, full: true})
			delete(scan.spaces, inode)
		}
	}
	targets = append(targets, t.findUnknown(ctx, scan.spaces)...)
	slices.SortFunc(targets, func(a, b *target) int {
		return strings.Compare(a.Engine+"\n"+a.name()+"\n"+a.ID, b.Engine+"\n"+b.name()+"\n"+b.ID)
	})
	return targets, skipped, nil
}

// findUnknown finds the namespaces that have files of lxcfs, as far as the time goes.
func (t *Toolkit) findUnknown(ctx context.Context, spaces map[uint64]*scannedSpace) (targets []*target) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	left := len(spaces)
	for inode, space := range spaces {
		if ctx.Err() != nil {
			t.Log.Warn("mount namespaces that no engine knows of are left alone: the search for lxcfs in them takes too long", "left", left)
			break
		}
		left--
		has, err := hasLxcfs(space.pids)
		if err != nil {
			t.Log.Warn("a mount namespace that no engine knows of is left alone", "pid", space.pids[0], "err", err)
		} else if has {
			n := namespace{inode: inode, pids: space.pids, nested: true}
			targets = append(targets, &target{Container: unknown(inode, space.pids[0]), spaces: []namespace{n}})
		}
	}
	return targets
}

func (g *target) name() string { return strings.Join(g.Names, ",") }

// process tells which namespaces a process is in, by their inode numbers.
type process struct{ mnt, pid uint64 }

// scanned is what a walk through /proc has found: all processes, and all mount namespaces but the caller's.
type scanned struct {
	own    process
	byPID  map[int]process
	spaces map[uint64]*scannedSpace
}

type scannedSpace struct {
	pid  uint64 // the pid namespace of the first process
	pids []int
}

func scanNamespaces() (*scanned, error) {
	proc, err := sys.OpenDir("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.List()
	if err != nil {
		return nil, err
	}
	s := &scanned{byPID: make(map[int]process), spaces: make(map[uint64]*scannedSpace)}
	if s.own, err = namespacesOf(proc, "thread-self"); err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		p, err := namespacesOf(proc, strconv.Itoa(pid))
		if err != nil {
			continue // it has ended, or it is the kernel's, or nobody may look at it
		}
		s.byPID[pid] = p
		if p.mnt == s.own.mnt {
			continue
		}
		space, ok := s.spaces[p.mnt]
		if !ok {
			space = &scannedSpace{pid: p.pid}
			s.spaces[p.mnt] = space
		}
		if len(space.pids) < maxPIDs {
			space.pids = append(space.pids, pid)
		}
	}
	return s, nil
}

func namespacesOf(proc sys.File, name string) (process, error) {
	var p process
	var err1, err2 error
	p.mnt, err1 = readNamespace(proc, name+"/ns/mnt")
	p.pid, err2 = readNamespace(proc, name+"/ns/pid")
	return p, errors.Join(err1, err2)
}

// readNamespace reads a link such as mnt:[4026531841].
func readNamespace(proc sys.File, name string) (uint64, error) {
	buf := make([]byte, 64)
	text, err := proc.ReadlinkAt([]byte(name+"\x00"), buf)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ":[")
	return strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
}

// hasLxcfs tells whether the mount table of the processes has files of lxcfs; none has one where they have ended. It fails
// where the table cannot be used.
func hasLxcfs(pids []int) (bool, error) {
	for _, pid := range pids {
		dir, err := sys.OpenDir("/proc/" + strconv.Itoa(pid))
		if err != nil {
			continue
		}
		table, err := mounts.ReadTable(dir)
		dir.Close()
		var errno syscall.Errno
		switch {
		case err == nil:
			return len(table.Files()) > 0, nil
		case !errors.As(err, &errno): // else the process has ended
			return false, err
		}
	}
	return false, nil
}

// unknown is a namespace that belongs to no container that an engine knows. It is called by the cgroup of its process.
func unknown(inode uint64, pid int) engine.Container {
	id := fmt.Sprintf("mnt-%d", inode)
	text, err := sys.ReadFile("/proc/"+strconv.Itoa(pid)+"/cgroup", nil)
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(line, ":")
		_, group, ok := strings.Cut(strings.TrimSpace(rest), ":")
		if name := path.Base(group); err == nil && ok && len(name) > 1 {
			id = name
			break
		}
	}
	return engine.Container{ID: id, PID: pid}
}
