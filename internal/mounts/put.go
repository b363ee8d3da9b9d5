package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"syscall"

	"palisade/internal/sys"
)

// Change is what was done to the files of a place.
type Change struct {
	// Virtual are the files that are the running lxcfs's at the end, Put those of them that were not at the beginning.
	Virtual, Put []string
	// Foreign are the files on which something else is mounted: they were left alone.
	Foreign []string
	// Removed is the number of mounts that were taken away.
	Removed int
	// Uncovered is the number of procfs and sysfs that were mounted beside those with files of lxcfs,
	// or taken away.
	Uncovered int
}

// Add adds what was done later.
func (c *Change) Add(later Change) {
	c.Virtual, c.Foreign = later.Virtual, later.Foreign
	c.Put = append(c.Put, later.Put...)
	c.Removed += later.Removed
	c.Uncovered += later.Uncovered
}

// maxRounds bounds how often a place is looked at again that changes under the hands.
const maxRounds = 4

// Put makes the files of the place be those of src: at the end one mount lies on each, whatever lxcfs mounts were there.
// Where the kernel can mount beneath (Linux 6.5) a reader sees the old file or the new one at any time; elsewhere, for a
// moment, the kernel's. A file on which something else is mounted is left alone. On an error the Change tells what has
// been done.
func (p *Place) Put(src *Source) (Change, error) {
	var c Change
	var volumes error // of the first round: the files do not wait for it
	for range maxRounds {
		done, err := p.putRound(src, &c, &volumes)
		if err != nil || done {
			return c, cmp.Or(err, volumes)
		}
	}
	return c, errors.New("the mounts change all the time")
}

// putRound does what is missing, and reports whether nothing was. An error of volumes does not end
// it.
func (p *Place) putRound(src *Source, c *Change, volumes *error) (bool, error) {
	v, err := p.visit()
	if err != nil {
		return false, err
	}
	defer v.close()
	// First, since it is by the files that are there that it knows the volumes.
	*volumes = cmp.Or(*volumes, v.replaceVolumes(src, c))
	targets, err := v.targets(src.paths)
	if err != nil {
		return false, err
	}
	c.Virtual, c.Foreign = nil, nil
	var work []target
	var covers []string // mount points that hide a target, or a mount to take away
	for _, t := range targets {
		state, ours := v.state(&t, src), v.table.onTop(t.stack)
		if state == foreign {
			c.Foreign = append(c.Foreign, t.path)
		}
		switch {
		case t.whole && state == stale:
			covers = append(covers, t.top().Mountpoint)
		case len(t.outdated) > 0 && ours > 0 && !p.Nested: // an earlier Put was killed
			covers = append(covers, t.point)
		case state == foreign && (len(t.outdated) == 0 || t.top() != nil || p.Nested):
		case state == virtual && (p.Nested || t.whole || ours <= 1):
			c.Virtual = append(c.Virtual, t.path)
		default:
			work = append(work, t)
		}
	}
	if len(covers) > 0 {
		return false, p.take(func(s site) bool { return slices.Contains(covers, s.point) }, c)
	}
	if len(work) == 0 {
		if p.Nested || !p.IsFinal {
			return true, nil
		}
		return true, errors.Join(v.addNest(src, c), p.addUncovered(v, c))
	}
	if err := v.openCovered(work); err != nil {
		return false, err
	}
	if err := checkPeers(work); err != nil {
		return false, err
	}
	defer closeTrees(work)
	if err := src.cloneFor(work); err != nil {
		return false, err
	}
	return false, sys.InMountNamespace(p.ns, func(thread *sys.NamespaceThread) error {
		for _, t := range work {
			if err := v.put(thread, t, src, c); err != nil {
				return fmt.Errorf("mount on %s: %w", t.path, err)
			}
		}
		return nil
	})
}

// checkPeers makes sure that nothing of what is to be mounted would be seen on the host.
func checkPeers(targets []target) error {
	var host map[int]bool
	for _, t := range targets {
		group := PeerGroup(t.base)
		if group == 0 {
			continue
		}
		if host == nil {
			table, err := OwnTable()
			if err != nil {
				return err
			}
			host = make(map[int]bool)
			for _, m := range table.all {
				host[PeerGroup(m)] = true
			}
		}
		if host[group] {
			return fmt.Errorf("mount on %s: its mount %s is shared with the host, which would get the mount too", t.path, t.base.Mountpoint)
		}
	}
	return nil
}

// openCovered opens the directories that have outdated mounts, before they are covered.
func (v *visit) openCovered(targets []target) error {
	for i := range targets {
		t := &targets[i]
		if len(t.outdated) == 0 || t.top() != nil {
			continue
		}
		d := v.dir(t.path)
		if d.err != nil {
			return d.err
		}
		t.covered = d.file
	}
	return nil
}

// put leaves one mount of lxcfs, src's, at the end of the target's stack, and none below the
// target.
func (v *visit) put(thread *sys.NamespaceThread, t target, src *Source, c *Change) error {
	if !t.foreign {
		if err := v.putOn(thread, t, src, c); err != nil {
			return err
		}
	}
	if !t.covered.IsOpen() {
		return nil
	}
	for _, stack := range t.outdated {
		for range stack {
			err := thread.Unmount(t.covered, t.nameBelow(stack))
			if v.place.Nested && errors.Is(err, syscall.EINVAL) {
				break // it came from the container, and is covered
			} else if err != nil {
				return err
			}
			c.Removed++
		}
	}
	return nil
}

// putOn leaves one mount of lxcfs, src's, at the end of the target's stack.
func (v *visit) putOn(thread *sys.NamespaceThread, t target, src *Source, c *Change) error {
	for v.table.onTop(t.stack) > 1 {
		if err := t.unmountTop(thread, c); err != nil {
			return err
		}
	}
	if top := t.top(); src.isShownBy(top, t.path) {
		return nil
	}
	if v.table.onTop(t.stack) == 1 {
		if err := v.place.attach(thread, t, src, true); err == nil {
			c.Put = append(c.Put, t.path)
			return t.unmountTop(thread, c)
		} else if !errors.Is(err, errNotBeneath) {
			return err
		}
		if err := t.unmountTop(thread, c); err != nil && !(v.place.Nested && errors.Is(err, syscall.EINVAL)) {
			return err // in a nested namespace it cannot be taken away, but covered
		}
	}
	c.Put = append(c.Put, t.path)
	return v.place.attach(thread, t, src, false)
}

// unmountTop takes the topmost mount away.
func (t *target) unmountTop(thread *sys.NamespaceThread, c *Change) error {
	if err := thread.Unmount(t.dir, t.name); err != nil {
		return err
	}
	c.Removed++
	t.stack = t.stack[:len(t.stack)-1]
	return nil
}

// errNotBeneath is the error where the kernel cannot mount beneath another mount.
var errNotBeneath = errors.New("the kernel cannot mount beneath")

// attach mounts the file of src on the target, on top of what is there or beneath the topmost.
func (p *Place) attach(thread *sys.NamespaceThread, t target, src *Source, beneath bool) error {
	if src.restrictLater && beneath {
		return errNotBeneath // what could not be restricted there; and such a kernel does not know how to
	}
	on, err := t.dir.OpenPathAt(t.name)
	if err != nil {
		return err
	}
	defer on.Close()
	if src.classic {
		err = p.bind(thread, t.path, on, src)
	} else if err = t.tree.MoveMount(on, beneath); beneath && errors.Is(err, syscall.EINVAL) {
		return errNotBeneath
	}
	if err != nil || beneath {
		return err
	}
	return p.restrict(thread, t, src.restrictLater || PeerGroup(t.base) != 0)
}

// restrict takes rights from the mount that has just been made, where it could not be done before.
func (p *Place) restrict(thread *sys.NamespaceThread, t target, needed bool) error {
	if !needed {
		return nil
	}
	f, err := t.dir.OpenPathAt(t.name)
	if err != nil {
		return err
	}
	defer f.Close()
	return thread.Restrict(f)
}

// bind mounts the file at path for kernels without mounts that are descriptors: the namespace has to show the source.
func (p *Place) bind(thread *sys.NamespaceThread, file string, on sys.File, src *Source) error {
	root, err := p.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.OpenDirInRoot(path.Join(src.mountpoint, path.Dir(file)))
	if err != nil {
		return fmt.Errorf("find lxcfs inside, which kernels before 5.2 need: %w", err)
	}
	defer dir.Close()
	source, err := dir.OpenPathAt(path.Base(file))
	if err != nil {
		return err
	}
	defer source.Close()
	return thread.Bind(source, on)
}
