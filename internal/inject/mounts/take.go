package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
)

// maxOpenStacks bounds the number of stacks that are open at a time: a container can mount lxcfs on
// more files than this process may open.
const maxOpenStacks = 256

// Take unmounts every lxcfs, dead or alive, from every procfs and sysfs of the namespace, and whole
// ones from the container's directories. An lxcfs with another mount on top stays. Take also
// unmounts what Put has mounted in uncoveredDir.
func (p *MountNS) Take() (Change, error) {
	var c Change
	table, err := p.Table()
	if err != nil {
		return c, err
	}
	err = p.takeVolumes(table, &c) // first: the files that are mounted identify the volumes
	err = errors.Join(err, p.takeAll(func(mountStack) bool { return true }, &c))
	return c, cmp.Or(err, p.takeUncovered(&c))
}

// TakeBack unmounts what Put has mounted.
func (p *MountNS) TakeBack(put Change) error {
	v, err := p.snapshot()
	if err != nil {
		return err
	}
	defer v.close()
	targets, err := v.targets(put.Put)
	if errors.Is(err, ErrNoProc) {
		return nil
	} else if err != nil {
		return err
	}
	var points []string
	for _, t := range targets {
		if top := t.top(); v.table.isLxcfs(top) {
			points = append(points, top.Mountpoint)
		}
	}
	err = p.takeAll(func(s mountStack) bool { return slices.Contains(points, s.point) }, new(Change))
	if err != nil || put.Uncovered == 0 {
		return err
	}
	return p.takeUncovered(new(Change))
}

func (p *MountNS) takeAll(selected func(mountStack) bool, c *Change) error {
	for range maxRounds {
		before := c.Removed
		if err := p.take(selected, c); err != nil || c.Removed == before {
			return err
		}
	}
	return errMountsChange
}

// take unmounts every lxcfs from the top of the selected stacks.
func (p *MountNS) take(selected func(mountStack) bool, c *Change) error {
	table, err := p.Table()
	if err != nil {
		return err
	}
	// A hidden stack can be reached in a later round, when the mount that hides it is unmounted.
	stacks := slices.DeleteFunc(table.stacks(), func(s mountStack) bool {
		return !selected(s) || table.isHidden(s.base, s.point)
	})
	c.Foreign = nil
	return p.takeStacks(table, stacks, c)
}

// takeStacks unmounts every lxcfs from the top of the stacks.
func (p *MountNS) takeStacks(table *Table, stacks []mountStack, c *Change) error {
	var failed []error
	for batch := range slices.Chunk(stacks, maxOpenStacks) {
		if err := p.takeBatch(table, batch, c, &failed); err != nil {
			return err
		}
	}
	if n := len(failed); n > 1 {
		return fmt.Errorf("%w, and %d more", failed[0], n-1)
	}
	return errors.Join(failed...)
}

func (p *MountNS) takeBatch(table *Table, stacks []mountStack, c *Change, failed *[]error) error {
	root, err := p.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	for i := range stacks {
		if err := stacks[i].openDir(root); err != nil {
			return err
		}
		defer stacks[i].dir.Close()
	}
	return sys.InMountNamespace(p.ns, func(thread *sys.NamespaceThread) error {
		for _, s := range stacks {
			n := table.onTop(s.stack)
			if n == 0 {
				c.Foreign = append(c.Foreign, s.point)
			}
			var err error
			for ; n > 0 && err == nil && s.dir.IsOpen(); n-- {
				err = s.unmountTop(thread, c)
			}
			if p.Nested && errors.Is(err, syscall.EINVAL) {
				continue // inherited from the container, thus locked (mount_namespaces(7))
			}
			if err != nil {
				*failed = append(*failed, fmt.Errorf("unmount %s: %w", s.point, err))
			}
		}
		return nil
	})
}

// openDir opens the directory that contains the stack, unless another mount hides it, or it was
// moved meanwhile. Root is the root of the mount namespace.
func (s *mountStack) openDir(root sys.File) error {
	dir, err := root.OpenDirBelow(path.Dir(s.point))
	if err != nil {
		return nil
	}
	if id, err := dir.MountID(); err != nil || id != s.base.ID {
		dir.Close()
		return err
	}
	s.dir = dir
	return nil
}

// File is a file or directory of a procfs or sysfs on which an lxcfs is mounted.
type File struct {
	// Path is its path in the mount namespace.
	Path   string
	Device sys.DeviceNumber
}

// Files returns the files and directories on which an lxcfs is mounted and visible.
func (t *Table) Files() []File {
	var files []File
	for _, s := range t.stacks() {
		if top := s.top(); t.isLxcfs(top) && !t.isHidden(s.base, s.point) {
			files = append(files, File{s.point, Device(top)})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}
