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
	// isUnknown reports that no engine knows it, so that it may be part of any other.
	isUnknown bool
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
	// isLXC reports that the container is one of liblxc.
	isLXC bool
}

// Running lists the containers that run, as List does, without a look into them.
func (t *Toolkit) Running(ctx context.Context) ([]engine.Container, []engine.Skipped, error) {
	targets, skipped, err := t.find(ctx)
	containers := make([]engine.Container, len(targets))
	for i, g := range targets {
		containers[i] = g.Container
	}
	return containers, skipped, err
}

// find lists the containers that run, as engines and cgroups tell, and other namespaces that have
// files of lxcfs. Those of root come first, those of no known engine last.
func (t *Toolkit) find(ctx context.Context) ([]*target, []engine.Skipped, error) {
	scan, err := scanNamespaces()
	if err != nil {
		return nil, nil, err
	}
	defer scan.proc.Close()
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

// assign gives each container its mount namespaces, which are taken out of the scan: its init's, and
// those of processes in its pid namespace or in one nested in it.
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
		g.spaces = append(g.spaces, n)
		if of.pid != scan.own.pid {
			byPIDNamespace[of.pid] = g
		}
		delete(scan.mounts, of.mnt)
	}
	for inode, m := range scan.mounts {
		for pidNS := range scan.around(m.pidNS) {
			if g, ok := byPIDNamespace[pidNS]; ok {
				g.spaces = append(g.spaces, namespace{
					inode: inode, pids: m.pids, nested: true, full: pidNS == m.pidNS, isLXC: g.IsLXC(),
				})
				delete(scan.mounts, inode)
				break
			}
		}
	}
	for _, g := range targets { // in the order in which they were made, by and large
		if len(g.spaces) > 1 {
			slices.SortFunc(g.spaces[1:], func(a, b namespace) int {
				return cmp.Compare(a.pids[0], b.pids[0])
			})
		}
	}
	return targets
}

// findUnknown finds the namespaces that have files of lxcfs, as far as the time goes.
func (t *Toolkit) findUnknown(
	ctx context.Context, spaces map[uint64]*mountNamespace,
) (targets []*target) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	left := len(spaces)
	for inode, m := range spaces {
		if ctx.Err() != nil {
			t.Log.Warn("mount namespaces that no engine knows of are left alone: the search for lxcfs in them takes too long", "left", left)
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
			t.Log.Warn("a mount namespace that no engine knows of is left alone",
				"pid", m.pids[0], "err", err)
		} else if has {
			targets = append(targets, &target{Container: found, spaces: []namespace{n}, isUnknown: true})
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

// errGone is the error for a namespace whose processes have ended.
var errGone = errors.New("its processes have ended")

// with calls do with one of the processes in the namespace, by its directory in /proc and its pid,
// and again with another if that one ends meanwhile. It fails with errGone if there is none left.
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

// has reports whether the process is in the namespace. It is in none once it has ended, also if it
// is a zombie.
func (n *namespace) has(process sys.File) bool {
	inode, err := readNamespace(process, "ns/mnt")
	return err == nil && inode == n.inode
}

// unknown returns what is listed for a mount namespace of no container that an engine knows, in
// which the process is. The ID is the name of the process's cgroup, which its user may have chosen.
func unknown(inode uint64, process sys.File, pid int) (engine.Container, error) {
	c := engine.Container{ID: fmt.Sprintf("mnt-%d", inode), PID: pid}
	text, err := process.ReadFileAt("cgroup", nil)
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(line, ":")
		_, group, ok := strings.Cut(strings.TrimSpace(rest), ":")
		if name := path.Base(group); err == nil && ok && len(name) > 1 {
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
