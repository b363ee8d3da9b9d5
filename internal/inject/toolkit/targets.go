package toolkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
)

const (
	// engineTime bounds the time that an engine takes to list its containers.
	engineTime = 3 * time.Second
	// searchTime bounds the search for lxcfs in namespaces of no known container. A user who can
	// create one can create thousands, each with any number of mounts.
	searchTime = 10 * time.Second
)

// target is a container with the mount namespaces of its processes.
type target struct {
	engine.Container
	namespaces []namespace
	// hostMounts is set if it has no mount namespace of its own.
	hostMounts bool
	// isUnknown is set for a namespace of no known container, which may belong to any of them.
	isUnknown bool
}

// namespace is a mount namespace of a container.
type namespace struct {
	inode uint64
	// pids are processes in it. One of them is enough.
	pids []int
	// nested is set if it was created inside the container.
	nested bool
	// full is set if its /proc is the container's own, so that remount mounts files in it even if
	// it has none.
	full bool
	// isLXC is set if liblxc started the container.
	isLXC bool
}

// Running lists the same containers as List, without their files.
func (t *Toolkit) Running(ctx context.Context) ([]engine.Container, []engine.Skipped, error) {
	targets, skipped, err := t.find(ctx, nil)
	return containersOf(targets), skipped, err
}

func containersOf(targets []*target) []engine.Container {
	containers := make([]engine.Container, len(targets))
	for i, g := range targets {
		containers[i] = g.Container
	}
	return containers
}

// find returns those of the given containers that run. If they are nil, it returns the running
// containers that engines and cgroups name, and other mount namespaces with files of lxcfs.
// Containers of root come first, those of no known engine last.
func (t *Toolkit) find(
	ctx context.Context, given []engine.Container,
) ([]*target, []engine.Skipped, error) {
	scan, err := scanNamespaces()
	if err != nil {
		return nil, nil, err
	}
	defer scan.proc.Close()
	if given != nil {
		hasEnded := func(c engine.Container) bool { // and the pid may be another process's
			cgroups, err := scan.proc.ReadFileAt(strconv.Itoa(c.PID)+"/cgroup", nil)
			return err != nil || !c.IsNamedIn(cgroups)
		}
		return assign(scan, slices.DeleteFunc(slices.Clone(given), hasEnded)), nil, nil
	}
	containers, skipped := engine.Find(ctx, engine.Options{
		Run: "/run", Lib: "/var/lib", Etc: "/etc", Proc: "/proc", Registry: t.registry(),
		Inits: scan.inits(), Isula: "isula", Timeout: engineTime,
	})
	targets := assign(scan, containers)
	targets = append(targets, t.findUnknown(ctx, scan.mounts)...)
	slices.SortFunc(targets, func(a, b *target) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Engine, b.Engine),
			cmp.Compare(a.name(), b.name()), cmp.Compare(a.ID, b.ID))
	})
	return targets, skipped, nil
}

// assign returns the containers with their mount namespaces, which it removes from the scan: that
// of the init, and those of processes in the container's pid namespace or in one nested in it.
func assign(scan *scanned, containers []engine.Container) (targets []*target) {
	byPIDNamespace := make(map[uint64]*target)
	for _, c := range containers {
		g := &target{Container: c}
		targets = append(targets, g)
		of, err := namespacesOf(scan.proc, strconv.Itoa(c.PID)) // it may have started after the scan
		if err != nil {
			continue // it has ended
		}
		if of.mnt == scan.own.mnt {
			g.hostMounts = true
			continue
		}
		n := namespace{inode: of.mnt, pids: []int{c.PID}, full: true, isLXC: c.IsLXC()}
		if m := scan.mounts[of.mnt]; m != nil {
			n.pids = append(n.pids, m.pids...)
		}
		g.namespaces = append(g.namespaces, n)
		if of.pid != scan.own.pid {
			byPIDNamespace[of.pid] = g
		}
		delete(scan.mounts, of.mnt)
	}
	for inode, m := range scan.mounts {
		pidNS := m.pidNS
		for range maxDepth { // up to the caller's, which is not among them
			ns := scan.pids[pidNS]
			if ns == nil {
				break
			}
			if g, ok := byPIDNamespace[pidNS]; ok {
				g.namespaces = append(g.namespaces, namespace{
					inode: inode, pids: m.pids, nested: true, full: pidNS == m.pidNS, isLXC: g.IsLXC(),
				})
				delete(scan.mounts, inode)
				break
			}
			pidNS = ns.parent
		}
	}
	for _, g := range targets { // about in the order of their creation
		if len(g.namespaces) > 1 {
			slices.SortFunc(g.namespaces[1:], func(a, b namespace) int {
				return cmp.Compare(a.pids[0], b.pids[0])
			})
		}
	}
	return targets
}

// findUnknown returns the namespaces with files of lxcfs, as many as it finds in searchTime.
func (t *Toolkit) findUnknown(
	ctx context.Context, spaces map[uint64]*mountNamespace,
) (targets []*target) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	left := len(spaces)
	for inode, m := range spaces {
		if ctx.Err() != nil {
			t.Log.Warn("search for lxcfs timed out: left alone mount namespaces of no known container",
				"left", left)
			break
		}
		left--
		n := namespace{inode: inode, pids: m.pids, nested: true}
		has, found := false, engine.Container{}
		err := n.with(func(process sys.File, pid int) error {
			table, err := mounts.ReadTable(process)
			if err == nil && len(table.Files()) > 0 {
				has = true
				found, err = unknown(inode, process, pid)
			}
			return err
		})
		if err != nil && !errors.Is(err, errGone) {
			t.Log.Warn("left alone a mount namespace of no known container",
				"pid", m.pids[0], "err", err)
		} else if has {
			targets = append(targets, &target{Container: found, namespaces: []namespace{n}, isUnknown: true})
		}
	}
	return targets
}

// rank sorts the containers of root before those of other users, and these before unknown ones.
func (g *target) rank() int {
	switch {
	case g.isUnknown:
		return 2
	case g.Creator != 0:
		return 1
	}
	return 0
}

func (g *target) name() string { return strings.Join(g.Names, ",") }

var errGone = errors.New("all processes of the namespace have ended")

// with calls do with the directory in /proc and the pid of a process in the namespace, and again
// with another process if that one ends meanwhile. It fails with errGone if none is left.
func (n *namespace) with(do func(process sys.File, pid int) error) error {
	for _, pid := range n.pids {
		process, err := sys.OpenDir("/proc/" + strconv.Itoa(pid))
		if err != nil {
			continue
		}
		if n.has(process) {
			if err = do(process, pid); err == nil || n.has(process) {
				process.Close()
				return err
			}
		}
		process.Close()
	}
	return errGone
}

// has reports whether the process is in the namespace. A process that has ended, even a zombie, is
// in none.
func (n *namespace) has(process sys.File) bool {
	inode, err := readNamespace(process, "ns/mnt")
	return err == nil && inode == n.inode
}

// unknown returns a container for the mount namespace of a process that belongs to no known one.
// Its ID is the name of the process's cgroup, which an ordinary user may have chosen.
func unknown(inode uint64, process sys.File, pid int) (engine.Container, error) {
	c := engine.Container{ID: fmt.Sprintf("mnt-%d", inode), PID: pid}
	text, _ := process.ReadFileAt("cgroup", nil)
	for _, group := range cgroup.Memberships(text) {
		if name := path.Base(group); len(name) > 1 {
			c.ID = name
			break
		}
	}
	ns, err := process.OpenAt("ns/mnt")
	if err != nil {
		return c, err
	}
	defer ns.Close()
	if c.Creator, err = ns.Creator(); c.Creator != 0 {
		c.ID = fmt.Sprintf("%d/%s", c.Creator, c.ID)
	}
	return c, err
}
