package shift

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/walk"
)

// systemDirs are directories that cannot be a container's root file system.
var systemDirs = []string{
	"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/media",
	"/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin",
	"/usr/lib", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp",
}

// noFiles are the magic numbers of file systems whose files have no owners on a disk.
var noFiles = []int64{sys.ProcMagic, sys.SysfsMagic, sys.CgroupMagic, sys.Cgroup2Magic}

// checkRoot returns problems that do not depend on the files in the tree. The view must be open.
func (t *tree) checkRoot(o *Options) (p Problems, err error) {
	const otherRoot = "choose the root file system of a container"
	if name := t.systemDir(); name != "" {
		p.add(otherRoot, "%s is %s", t.path, name)
		return p, nil // nothing else matters
	}
	switch {
	case slices.Contains(noFiles, t.fsType):
		p.add(otherRoot, "%s is on %s, which has no files", t.path, t.mount.FSType)
	case idmount.HasOption(t.mount.VFSOptions, "ro"):
		p.add("mount -o remount,rw", "the file system of %s is read-only", t.path)
	case t.view.IsReadOnly():
		p.add("mount -o remount,bind,rw, or btrfs property set DIR ro false",
			"%s is read-only", t.path)
	case t.mount.FSType == "overlay" && !o.AllowCopyUp:
		p.add("shift its lower directories before, or --allow-copyup",
			"%s is an overlay: each file would be copied to its upper layer", t.path)
	}
	if idmount.HasOption(t.mount.Options, "idmapped") {
		p.add("shift it where it is not idmapped",
			"%s is seen through an idmapped mount", t.path)
	}
	if t.inode.Immutable || t.inode.AppendOnly {
		p.add("chattr -i -a", "%s itself is immutable or append-only", t.path)
	}
	if err := t.checkOverlays(&p); err != nil {
		return nil, err
	}
	if !o.Force {
		t.checkProcesses(&p)
	}
	return p, nil
}

// systemDir describes the tree if it cannot be a container's root file system, else it returns "".
func (t *tree) systemDir() string {
	if slices.Contains(systemDirs, t.path) {
		return "a directory of the system"
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.Clean(home) == t.path {
		return "the home directory"
	}
	if t.isAt("/") {
		return "this system's root directory"
	}
	return ""
}

// isAt reports whether path leads to the root directory of the tree.
func (t *tree) isAt(path string) bool {
	i, err := sys.Stat(path)
	return err == nil && i.Number == t.inode.Number && i.FileSystem == t.inode.FileSystem
}

// checkPrivileges returns problems unless this process is root in the initial user namespace: in
// another one, ids are mapped and trusted attributes are hidden.
func checkPrivileges() (p Problems, err error) {
	missing, err := sys.MissingCapabilities()
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		p.add("run it as root", "missing capabilities: %s", strings.Join(missing, ", "))
	}
	text, err := sys.ReadFile("/proc/self/uid_map", nil)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"}) {
		p.add("run it on the host", "this process is in a user namespace")
	}
	return p, nil
}

// checkOverlays adds a problem for each overlay that has a layer in, at or above the tree: a change
// of its files makes its behaviour undefined.
func (t *tree) checkOverlays(p *Problems) error {
	overlays, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	for _, m := range overlays {
		for _, layer := range idmount.OverlayLayers(m) {
			if strings.HasPrefix(layer+"/", t.path+"/") || strings.HasPrefix(t.path, layer+"/") {
				p.add("unmount it", "%s is, or has, a layer of the overlay on %s", t.path, m.Mountpoint)
				break
			}
		}
	}
	return nil
}

// checkProcesses adds a problem if processes have the tree as their root directory. Processes that
// end during the search are skipped.
func (t *tree) checkProcesses(p *Problems) {
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		p.add("mount a procfs on /proc", "find processes in the tree: %v", err)
		return
	}
	var found examples
	for _, pid := range pids {
		if t.isAt(fmt.Sprintf("/proc/%d/root", pid)) {
			found.Add(func() string { return strconv.Itoa(pid) })
		}
	}
	if found.Count > 0 {
		p.add("stop the container, or --force",
			"%s is the root of processes: %s", t.path, found.list())
	}
}

// A closed root directory keeps out processes that are not in the tree yet. A process that holds a
// directory below the root, or has a mount of one, can still move and link files: it is an
// occupant. Processes of the host's root are trusted and do not count, nor do those that hold only
// the root directory, which is closed to them.

type occupants struct {
	tree  *tree
	files inodeSet
	// namespaces holds the inode numbers of the mount namespaces already examined.
	namespaces map[uint64]bool
}

// checkOccupants returns a problem if a process is in the tree, whose inodes are files, unless
// Options.Force is set. Processes that end during the search are skipped.
func (t *tree) checkOccupants(files inodeSet, o *Options) (p Problems, err error) {
	if o.Force {
		return nil, nil
	}
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		return nil, fmt.Errorf("find processes in the tree: %w", err)
	}
	search := occupants{t, files, make(map[uint64]bool)}
	var found examples
	for _, pid := range pids {
		process := "/proc/" + strconv.Itoa(pid)
		if procfs.IsHostRoot(process) {
			continue
		}
		where := search.ofProcess(pid, process)
		if where == "" {
			where = search.ofMounts(process)
		}
		if where != "" {
			found.Add(func() string { return fmt.Sprintf("process %d (%s)", pid, where) })
		}
	}
	if found.Count > 0 {
		p.add("stop them, or --force",
			"processes of other users are in %s: %s", t.path, found.list())
	}
	return p, nil
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
	mounts, err := idmount.MountsOf(process)
	if err != nil {
		return ""
	}
	own := o.tree.mount
	inMount := strings.TrimPrefix(o.tree.path, strings.TrimSuffix(own.Mountpoint, "/"))
	below := strings.TrimRight(own.Root, "/") + strings.TrimRight(inMount, "/") + "/"
	for _, m := range mounts {
		if m.Major == own.Major && m.Minor == own.Minor &&
			len(m.Root) > len(below) && strings.HasPrefix(m.Root, below) {
			return fmt.Sprintf("mount %q", m.Mountpoint)
		}
	}
	return ""
}
