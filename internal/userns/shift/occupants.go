package shift

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/userns/walk"
)

// A closed root directory keeps out processes that are not in the tree yet. A process that holds a
// directory below the root, or has a mount of one, can still move and link files: it is an
// occupant. Processes of the host's root are trusted and do not count, nor do those that hold only
// the root directory, which is closed to them.

type occupants struct {
	tree  *tree
	files inodeSet
	// namespaces holds the inode numbers of the mount namespaces already examined.
	namespaces map[uint64]bool
	found      examples
}

// findOccupants finds the processes in the tree, whose inodes are files. Processes that end during
// the search are skipped.
func (t *tree) findOccupants(files inodeSet) (examples, error) {
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		return examples{}, fmt.Errorf("find processes in the tree: %w", err)
	}
	o := occupants{tree: t, files: files, namespaces: make(map[uint64]bool)}
	for _, pid := range pids {
		process := "/proc/" + strconv.Itoa(pid)
		if procfs.IsHostRoot(process) {
			continue
		}
		where := o.ofProcess(pid, process)
		if where == "" {
			where = o.ofMounts(process)
		}
		if where != "" {
			o.found.addText(func() string { return fmt.Sprintf("process %d (%s)", pid, where) })
		}
	}
	return o.found, nil
}

// ofProcess returns the link in procfs by which a process is in the tree, "" if there is none.
func (o *occupants) ofProcess(pid int, process string) string {
	program := process + "/exe" // no file can be reached by it
	for link := range sys.ProcessLinks(pid) {
		if link != program && o.isInside(link) {
			_, name, _ := strings.Cut(strings.TrimPrefix(link, process+"/task/"), "/")
			return name
		}
	}
	return ""
}

// isInside reports whether a link leads to a file of the tree other than its root directory.
func (o *occupants) isInside(link string) bool {
	i, err := sys.StatxCached(link)
	key := walk.KeyOf(&i)
	return err == nil && key != walk.KeyOf(&o.tree.inode) && o.files.has(key)
}

// ofMounts returns the mount point of a directory of the tree in the process's mount namespace, ""
// if there is none or the namespace was examined before.
func (o *occupants) ofMounts(process string) string {
	ns, err := sys.Stat(process + "/ns/mnt")
	if err != nil || o.namespaces[ns.Number] {
		return ""
	}
	o.namespaces[ns.Number] = true
	f, err := os.Open(process + "/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	own := o.tree.mount
	inMount := strings.TrimPrefix(o.tree.path, strings.TrimSuffix(own.Mountpoint, "/"))
	below := strings.TrimRight(own.Root, "/") + strings.TrimRight(inMount, "/") + "/"
	mounts, _ := mountinfo.GetMountsFromReader(f, func(m *mountinfo.Info) (skip, stop bool) {
		isInside := m.Major == own.Major && m.Minor == own.Minor &&
			len(m.Root) > len(below) && strings.HasPrefix(m.Root, below)
		return !isInside, isInside
	})
	if len(mounts) == 0 {
		return ""
	}
	return fmt.Sprintf("mount %q", mounts[0].Mountpoint)
}

// checkOccupants returns a problem if a process is in the tree, unless Options.Force is set.
func (t *tree) checkOccupants(files inodeSet, o *Options) (p Problems, err error) {
	if o.Force {
		return nil, nil
	}
	found, err := t.findOccupants(files)
	if found.count > 0 {
		p.add("stop them, or --force",
			"processes of other users are in %s: %s", t.path, found.list())
	}
	return p, err
}
