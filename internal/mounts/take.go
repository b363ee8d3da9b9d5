package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// maxOpenSites is how many sites are open at a time: a container can mount files of lxcfs on more than this process may open.
const maxOpenSites = 256

// Take takes all mounts of lxcfs, dead or alive, out of every procfs and sysfs of the namespace, and
// lxcfs as a whole off the container's directories. What is mounted on top of one, and everything
// that is not lxcfs's, stays. What Put has mounted in uncoveredDir is taken away.
func (p *Place) Take() (Change, error) {
	var c Change
	v, err := p.visit()
	if err != nil {
		return c, err
	}
	err = v.takeVolumes(&c) // first, since it is by the files that it knows them
	v.close()
	err = errors.Join(err, p.takeAll(func(site) bool { return true }, &c))
	return c, cmp.Or(err, p.takeUncovered(&c))
}

// TakeBack takes out what Put has put there.
func (p *Place) TakeBack(put Change) error {
	v, err := p.visit()
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
	err = p.takeAll(func(s site) bool { return slices.Contains(points, s.point) }, new(Change))
	if err != nil || put.Uncovered == 0 {
		return err
	}
	return p.takeUncovered(new(Change))
}

// takeAll takes until there is nothing more to take of the sites that are meant.
func (p *Place) takeAll(meant func(site) bool, c *Change) error {
	for range maxRounds {
		before := c.Removed
		if err := p.take(meant, c); err != nil || c.Removed == before {
			return err
		}
	}
	return errors.New("the mounts change all the time")
}

// take takes the mounts of lxcfs off the top of the sites that are meant.
func (p *Place) take(meant func(site) bool, c *Change) error {
	table, err := p.Table()
	if err != nil {
		return err
	}
	// What a mount hides is out of reach until that is taken away, in a next round.
	sites := slices.DeleteFunc(table.sites(), func(s site) bool {
		return !meant(s) || table.isHidden(s.base, s.point)
	})
	c.Foreign = nil
	var failed takeErrors
	for batch := range slices.Chunk(sites, maxOpenSites) {
		if err := p.takeSites(table, batch, c, &failed); err != nil {
			return err
		}
	}
	return failed.err()
}

// takeSites takes the mounts of lxcfs off the top of some sites.
func (p *Place) takeSites(table *Table, sites []site, c *Change, failed *takeErrors) error {
	defer closeSites(sites)
	if err := p.openSites(sites); err != nil {
		return err
	}
	return sys.InMountNamespace(p.ns, func(thread *sys.NamespaceThread) error {
		for _, s := range sites {
			err := s.take(thread, table.onTop(s.stack), c)
			if p.Nested && errors.Is(err, syscall.EINVAL) {
				continue // it came from the container into a namespace of less privilege, and goes with that
			}
			if err != nil {
				failed.add(fmt.Errorf("unmount %s: %w", s.point, err))
			}
		}
		return nil
	})
}

// takeErrors are those of sites: the first, and how many there are.
type takeErrors struct {
	first error
	n     int
}

func (e *takeErrors) add(err error) {
	e.first = cmp.Or(e.first, err)
	e.n++
}

func (e *takeErrors) err() error {
	if e.n > 1 {
		return fmt.Errorf("%w, and %d more", e.first, e.n-1)
	}
	return e.first
}

// openSites gets a hold of the directories in which the sites are, where nothing hides them.
func (p *Place) openSites(sites []site) error {
	root, err := p.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	for i := range sites {
		s := &sites[i]
		if s.dir, err = root.OpenDirBelow(path.Dir(s.point)); err != nil {
			continue // hidden, or moved meanwhile
		}
		if id, err := s.dir.MountID(); err != nil {
			return err
		} else if id != s.base.ID {
			s.dir.Close()
		}
	}
	return nil
}

func closeSites(sites []site) {
	for i := range sites {
		sites[i].dir.Close()
	}
}

// take unmounts the n mounts of lxcfs with which the site's stack ends.
func (s *site) take(thread *sys.NamespaceThread, n int, c *Change) error {
	if n == 0 {
		c.Foreign = append(c.Foreign, s.point)
	}
	if !s.dir.IsOpen() {
		return nil
	}
	for range n {
		if err := thread.Unmount(s.dir, path.Base(s.point)); err != nil {
			return err
		}
		c.Removed++
	}
	return nil
}

// File is a file or directory of a procfs or sysfs on which an lxcfs is mounted.
type File struct {
	// Path is where it is, as the processes of the namespace see it.
	Path   string
	Device sys.DeviceNumber
}

// Files lists what is lxcfs's in the namespace, and can be seen.
func (t *Table) Files() []File {
	var files []File
	for _, s := range t.sites() {
		if top := s.stack[len(s.stack)-1]; t.isLxcfs(top) && !t.isHidden(s.base, s.point) {
			files = append(files, File{s.point, Device(top)})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}
