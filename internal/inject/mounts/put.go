package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"syscall"

	"palisade/internal/linux/sys"
)

// Change lists what was mounted and unmounted in a mount namespace.
type Change struct {
	// Virtual lists the files of the running lxcfs that are mounted in the end, Put those of them
	// that were not mounted before.
	Virtual, Put []string
	// Foreign lists the files on which something else is mounted. They were left alone.
	Foreign []string
	// Removed is the number of mounts that were unmounted.
	Removed int
	// Uncovered is the number of second instances of procfs and sysfs that were mounted or
	// unmounted.
	Uncovered int
}

// Add adds a later change to c.
func (c *Change) Add(later Change) {
	c.Virtual, c.Foreign = later.Virtual, later.Foreign
	c.Put = append(c.Put, later.Put...)
	c.Removed += later.Removed
	c.Uncovered += later.Uncovered
}

// maxRounds bounds how often the mount table is read again because it changes meanwhile.
const maxRounds = 4

// Put mounts the files of src in the namespace: in the end each file has one mount of lxcfs,
// however many it had before. Where the kernel can mount beneath another mount (Linux 6.5), a
// reader sees the old file or the new one at any time; otherwise the kernel's file for a moment. A
// file on which something else is mounted is left alone. On an error the Change lists what was done
// so far.
func (p *MountNS) Put(src *Source) (Change, error) {
	var c Change
	var volumes error // of the first round; it does not stop the files
	for range maxRounds {
		done, err := p.putRound(src, &c, &volumes)
		if err != nil || done {
			return c, cmp.Or(err, volumes)
		}
	}
	return c, errMountsChange
}

var errMountsChange = errors.New("the mount table keeps changing")

// putRound mounts what is missing, and reports whether nothing was. An error for a volume does not
// stop it.
func (p *MountNS) putRound(src *Source, c *Change, volumes *error) (bool, error) {
	v, err := p.snapshot()
	if err != nil {
		return false, err
	}
	defer v.close()
	// This comes first: the files that are mounted identify the volumes.
	*volumes = cmp.Or(*volumes, v.replaceVolumes(src, c))
	targets, err := v.targets(src.paths)
	if err != nil {
		return false, err
	}
	c.Virtual, c.Foreign = nil, nil
	var work []target
	var covers []string // mount points that hide a target, or a mount to unmount
	for _, t := range targets {
		isVirtual, isForeign := v.state(&t, src)
		ours := v.table.onTop(t.stack)
		if isForeign {
			c.Foreign = append(c.Foreign, t.path)
		}
		switch {
		case t.whole && !isVirtual && !isForeign:
			covers = append(covers, t.top().Mountpoint)
		case len(t.outdated) > 0 && ours > 0 && !p.Nested: // an earlier Put was killed
			covers = append(covers, t.point)
		case isForeign && (len(t.outdated) == 0 || t.top() != nil || p.Nested):
		case isVirtual && (p.Nested || t.whole || ours <= 1):
			c.Virtual = append(c.Virtual, t.path)
		default:
			if len(t.outdated) > 0 && t.top() == nil {
				d := v.dir(t.path) // before it is covered
				if d.err != nil {
					return false, d.err
				}
				t.covered = d.file
			}
			work = append(work, t)
		}
	}
	if len(covers) > 0 {
		return false, p.take(func(s mountStack) bool { return slices.Contains(covers, s.point) }, c)
	}
	if len(work) == 0 {
		if p.Nested || !p.IsFinal {
			return true, nil
		}
		return true, errors.Join(v.addNest(src, c), p.addUncovered(v, c))
	}
	if err := checkPeers(work...); err != nil {
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

// checkPeers returns an error if a mount on a target would propagate to the host.
func checkPeers(targets ...target) error {
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
			return fmt.Errorf("mount on %s: its mount %s would propagate the new mount to the host",
				t.path, t.base.Mountpoint)
		}
	}
	return nil
}

// put mounts the file of src on top of the target, in place of other lxcfs, and unmounts every
// lxcfs below the target.
func (v *snapshot) put(thread *sys.NamespaceThread, t target, src *Source, c *Change) error {
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
			if v.mountNS.Nested && errors.Is(err, syscall.EINVAL) {
				break // inherited from the container; the new mount covers it
			} else if err != nil {
				return err
			}
			c.Removed++
		}
	}
	return nil
}

// putOn mounts the file of src on top of the target, in place of other lxcfs.
func (v *snapshot) putOn(thread *sys.NamespaceThread, t target, src *Source, c *Change) error {
	for v.table.onTop(t.stack) > 1 {
		if err := t.unmountTop(thread, c); err != nil {
			return err
		}
	}
	if top := t.top(); src.isShownBy(top, t.path) {
		return nil
	}
	if v.table.onTop(t.stack) == 1 {
		if err := v.mountNS.attach(thread, t, src, true); err == nil {
			c.Put = append(c.Put, t.path)
			return t.unmountTop(thread, c)
		} else if !errors.Is(err, errNotBeneath) {
			return err
		}
		err := t.unmountTop(thread, c)
		if err != nil && !(v.mountNS.Nested && errors.Is(err, syscall.EINVAL)) {
			return err // in a nested namespace it cannot be unmounted, but covered
		}
	}
	c.Put = append(c.Put, t.path)
	return v.mountNS.attach(thread, t, src, false)
}

var errNotBeneath = errors.New("the kernel cannot mount beneath")

// attach mounts the file of src on the target, on top of its mounts or beneath the topmost.
func (p *MountNS) attach(thread *sys.NamespaceThread, t target, src *Source, beneath bool) error {
	if src.restrictLater && beneath {
		return errNotBeneath // the mount could not be restricted there, and such a kernel cannot do it
	}
	on, err := t.dir.OpenPathAt(t.name())
	if err != nil {
		return err
	}
	defer on.Close()
	if src.classic {
		err = p.bind(thread, t.path, on, src)
	} else if err = t.tree.MoveMount(on, beneath); beneath && errors.Is(err, syscall.EINVAL) {
		return errNotBeneath
	}
	if err != nil || beneath || !src.restrictLater && PeerGroup(t.base) == 0 {
		return err
	}
	f, err := t.dir.OpenPathAt(t.name())
	if err != nil {
		return err
	}
	defer f.Close()
	return thread.Restrict(f)
}

// bind mounts the file on kernels without detached mounts. The container must have the mount point
// of lxcfs.
func (p *MountNS) bind(thread *sys.NamespaceThread, file string, on sys.File, src *Source) error {
	root, err := p.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.OpenDirInRoot(path.Join(src.mountpoint, path.Dir(file)))
	if err != nil {
		return fmt.Errorf("find the mount point of lxcfs in the container (Linux before 5.2): %w", err)
	}
	defer dir.Close()
	source, err := dir.OpenPathAt(path.Base(file))
	if err != nil {
		return err
	}
	defer source.Close()
	return thread.Bind(source, on)
}
