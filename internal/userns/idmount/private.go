package idmount

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/sys"
)

// ReachableError is the error for a directory that users of the host other than root can reach:
// they could execute files that its container makes set-id root.
type ReachableError struct {
	// Path is a path to the directory or into it; Remedy is the advice to close it.
	Path, Remedy string
}

func (e *ReachableError) Error() string {
	return fmt.Sprintf("other users of the host can reach %s, "+
		"and execute files that a container makes set-id root: %s", e.Path, e.Remedy)
}

// Private is an open directory that users of the host other than root cannot reach by any known
// path: on each path, a directory belongs to root and only root may search it, or the mount is
// nosuid. The directory itself does not count, since its container can change it. Only a private
// directory may be idmapped, because files that a container's root writes through an idmapped mount
// belong to the host's root on the disk.
type Private struct {
	dir   sys.File
	inode sys.Inode
}

// LinkCheck fails if files of the open directory have names outside of it.
type LinkCheck func(dir sys.File) error

// OpenPrivate opens the directory at path. It fails with a ReachableError if it is not private. It
// knows the paths of this process's mount namespace: by all mounts of the file system, by overlays
// of which the directory is a layer, and to the upper layer if it is on an overlay itself. Paths to
// single files are what check is for. It fails, too, if a process of another user is in the
// directory, which no closed directory stops.
func OpenPrivate(path string, check LinkCheck) (*Private, error) {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return nil, err
	}
	p, err := newPrivate(dir)
	if err == nil {
		err = check(dir)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return p, nil
}

// CheckPrivate fails as OpenPrivate does, without a check for hard links.
func CheckPrivate(path string) error {
	p, err := OpenPrivate(path, func(sys.File) error { return nil })
	if err != nil {
		return err
	}
	return p.Close()
}

// Close closes the directory.
func (p *Private) Close() error { return p.dir.Close() }

// newPrivate checks the open directory. The result takes ownership of dir; on failure the caller
// keeps it.
func newPrivate(dir sys.File) (*Private, error) {
	p := &Private{dir: dir}
	at, err := p.check()
	if err != nil {
		return nil, err
	}
	if at.mount.FSType != "overlay" {
		return p, nil
	}
	for _, upper := range optionPaths(at.mount.VFSOptions, "upperdir") {
		if !filepath.IsAbs(upper) {
			return nil, fmt.Errorf("upper layer of %s: relative path %s", at.host, upper)
		}
		if upper, err = filepath.EvalSymlinks(upper); err == nil {
			err = CheckPrivate(upper)
		}
		if err != nil {
			return nil, fmt.Errorf("upper layer of %s: %w", at.host, err)
		}
	}
	return p, nil
}

// maxLooks is how often the paths are looked at while other users move directories above them.
const maxLooks = 3

// check looks at all paths that lead to the directory, and at the processes in it.
func (p *Private) check() (at location, err error) {
	if p.inode, err = p.dir.Look(); err != nil {
		return at, err
	}
	for look := 1; ; look++ {
		table, err := mountinfo.GetMounts(nil)
		if err != nil {
			return at, fmt.Errorf("read the mount table: %w", err)
		}
		if at, err = locate(p.dir, table); err != nil {
			return at, err
		}
		at.inode = p.inode
		err = at.checkViews("/", table, look == maxLooks)
		if err == nil {
			err = at.checkInitViews(look == maxLooks)
		}
		if err == nil {
			err = at.checkProcesses(table)
		}
		if !errors.Is(err, errMoved) {
			return at, err
		}
	}
}

// errMoved is the error for a path that leads elsewhere than the mount table says.
var errMoved = errors.New("a directory above it was moved meanwhile")

// location is where a directory is.
type location struct {
	inode sys.Inode
	mount *mountinfo.Info
	// host is the path in this mount namespace, without symbolic links; inner is the path within the
	// file system.
	host, inner string
	// behind are directories that lead to it from behind the last closed directory of a view.
	behind []string
}

// locateOpen returns the location of the open directory, and the mount table.
func locateOpen(dir sys.File) (at location, table []*mountinfo.Info, err error) {
	if table, err = mountinfo.GetMounts(nil); err != nil {
		return at, nil, fmt.Errorf("read the mount table: %w", err)
	}
	at, err = locate(dir, table)
	return at, table, err
}

func locate(dir sys.File, table []*mountinfo.Info) (location, error) {
	host, err := os.Readlink(dir.Path())
	if err != nil {
		return location{}, err
	}
	id, err := dir.MountID()
	if err != nil {
		return location{}, err
	}
	i := slices.IndexFunc(table, func(m *mountinfo.Info) bool { return m.ID == id })
	if i < 0 {
		return location{}, fmt.Errorf("%s is on a mount of another mount namespace", host)
	}
	rest, ok := cutDir(host, table[i].Mountpoint)
	if !ok {
		return location{}, fmt.Errorf("%s is not below its mount point %s", host, table[i].Mountpoint)
	}
	return location{mount: table[i], host: host, inner: path.Join(table[i].Root, rest)}, nil
}

// cutDir returns the part of path below dir. It reports whether path is dir or below it.
func cutDir(path, dir string) (rest string, ok bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// view is a path in this mount namespace to a directory, or to a part of it.
type view struct {
	mount *mountinfo.Info
	path  string
	// isPart reports that path leads to a part of the directory.
	isPart bool
}

// views returns the paths through all mounts of the file system, and through overlays that have the
// directory, or a directory above or below it, as a layer.
func (at *location) views(table []*mountinfo.Info) (views []view) {
	known := make(map[string]bool) // layers, which overlays share
	var isLayer func(string) bool
	isLayer = func(layer string) bool {
		overlaps, ok := known[layer]
		if !ok {
			known[layer] = false // an overlay of overlays ends somewhere
			overlaps = at.overlaps(layer, table, isLayer)
			known[layer] = overlaps
		}
		return overlaps
	}
	for _, m := range table {
		if at.isOn(m) {
			if rest, ok := cutDir(at.inner, m.Root); ok {
				views = append(views, view{m, path.Join(m.Mountpoint, rest), false})
			} else if _, ok := cutDir(m.Root, at.inner); ok {
				views = append(views, view{m, m.Mountpoint, true})
			}
		} else if m.FSType == "overlay" && slices.ContainsFunc(OverlayLayers(m), isLayer) {
			views = append(views, view{m, m.Mountpoint, true})
		}
	}
	return views
}

// is reports whether an inode is the directory's.
func (at *location) is(i *sys.Inode) bool {
	return i.Number == at.inode.Number && i.FileSystem == at.inode.FileSystem
}

// isOn reports whether m is a mount of the directory's file system.
func (at *location) isOn(m *mountinfo.Info) bool {
	return m.Major == at.mount.Major && m.Minor == at.mount.Minor
}

// overlaps reports whether one of two directories is, or is in, the other, or has a layer of it. One
// that is missing, as where an overlay was made in another mount namespace, overlaps nothing.
func (at *location) overlaps(
	other string, table []*mountinfo.Info, isLayer func(string) bool,
) bool {
	dir, err := sys.OpenDir(other)
	if err != nil {
		return false
	}
	defer dir.Close()
	o, err := locate(dir, table)
	if err != nil {
		return false
	}
	if !at.isOn(o.mount) {
		return o.mount.FSType == "overlay" && slices.ContainsFunc(OverlayLayers(o.mount), isLayer)
	}
	_, above := cutDir(at.inner, o.inner)
	_, below := cutDir(o.inner, at.inner)
	return above || below
}

// isCovered reports whether another mount hides a view.
func (v view) isCovered(table []*mountinfo.Info) bool {
	var child *mountinfo.Info
	for m, at := v.mount, v.path; ; {
		var parent *mountinfo.Info
		for _, other := range table {
			if other.ID == m.Parent && other != m {
				parent = other
			}
			if other == child || other == m || other.Parent != m.ID {
				continue
			}
			if _, ok := cutDir(at, other.Mountpoint); ok {
				return true
			}
		}
		if parent == nil {
			return false
		}
		child, m, at = m, parent, m.Mountpoint
	}
}

// checkInitViews checks the views in the mount namespace of process 1, if it is another one than
// this process's, as where a service manager has given the engine one of its own.
func (at *location) checkInitViews(isLast bool) error {
	const process = "/proc/1"
	theirs, err := sys.Stat(process + "/ns/mnt")
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return nil // as in a container, where it is not the host's
	} else if err != nil {
		return fmt.Errorf("find the mount namespace of process 1: %w", err)
	}
	ours, err := sys.Stat("/proc/self/ns/mnt")
	if err != nil || theirs.Inode == ours.Inode {
		return err
	}
	table, err := mountsOf(process)
	if err != nil {
		return fmt.Errorf("read the mount table of process 1: %w", err)
	}
	return at.checkViews(process+"/root", table, isLast)
}

// mountsOf reads the mount table of a process.
func mountsOf(process string) ([]*mountinfo.Info, error) {
	f, err := os.Open(process + "/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(f, nil)
}

// checkViews fails with a ReachableError if other users can pass all directories of a view. root is
// the root directory of the mount table. Where a view is not found though no mount hides it, some
// user has moved a directory above it: checkViews fails with errMoved, or, if isLast, takes the view
// for one that other users reach.
func (at *location) checkViews(root string, table []*mountinfo.Info, isLast bool) error {
	views := at.views(table)
	isInside := func(dir string) bool {
		return slices.ContainsFunc(views, func(v view) bool {
			_, inside := cutDir(dir, v.path)
			return inside
		})
	}
	var reachable []view
	mapped := make(map[view]uint32) // idmapped views, with the uid they show as the owner
	onDisk, found := int64(-1), false
	for _, v := range views {
		w, err := walk(root, v.path, isInside)
		isHidden := errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotDir)
		isHidden = isHidden || err == nil && w.mountID != v.mount.ID
		if isHidden && v.isCovered(table) {
			continue
		}
		if err != nil && !isHidden {
			return err
		}
		if isHidden || !v.isPart && !at.is(&w.inode) {
			if !isLast {
				return errMoved
			}
			reachable = append(reachable, v)
			continue
		}
		found = found || v.mount == at.mount
		isMapped := isMapped(v.mount) && !v.isPart
		if !v.isPart && !isMapped {
			onDisk = int64(w.inode.UID)
		}
		switch {
		case hasOption(v.mount, "nosuid"):
		case w.behind != "":
			if !isMapped && root == "/" {
				at.behind = append(at.behind, w.behind)
			}
		case isMapped:
			mapped[v] = w.inode.UID
		default:
			reachable = append(reachable, v)
		}
	}
	if !found && root == "/" {
		return fmt.Errorf("%s has been moved, or is hidden by a mount", at.host)
	}
	// On an idmapped mount that maps root away, root's files on the disk belong to another user.
	for v, uid := range mapped {
		if uid == 0 || int64(uid) == onDisk {
			reachable = append(reachable, v)
		}
	}
	if len(reachable) == 0 {
		return nil
	}
	remedy, err := at.remedy(root, reachable[0])
	if err != nil {
		return err
	}
	return &ReachableError{reachable[0].path, remedy}
}

// pathInfo describes the file at the end of a path.
type pathInfo struct {
	mountID int
	inode   sys.Inode
	// behind is the directory on the way behind the last closed one above the end, "" if none is.
	behind string
}

var errNotDir = errors.New("not a directory")

// walk goes from the root directory to the file at path, following no symbolic link. Directories
// inside the tree count for nothing, since its container can change them.
func walk(root, file string, isInside func(string) bool) (w pathInfo, err error) {
	dir, err := sys.OpenPath(root)
	if err != nil {
		return w, err
	}
	defer func() { dir.Close() }()
	at := "/"
	for name := range strings.FieldsFuncSeq(file, func(r rune) bool { return r == '/' }) {
		i, err := dir.Look()
		if err != nil {
			return w, err
		}
		if !i.IsDir() {
			return w, errNotDir
		}
		if isClosed(&i) && !isInside(at) {
			w.behind = path.Join(at, name)
		}
		next, err := dir.OpenPathAt(name)
		if err != nil {
			return w, err
		}
		dir.Close()
		dir, at = next, path.Join(at, name)
	}
	if w.inode, err = dir.Look(); err != nil {
		return w, err
	}
	w.mountID, err = dir.MountID()
	return w, err
}

// searchOthers are the search permissions of a directory's group and of others. With an access
// control list, the group bits are its mask (acl(5)).
const searchOthers = 0o011

func isClosed(dir *sys.Inode) bool { return dir.UID == 0 && dir.Mode&searchOthers == 0 }

func hasOption(m *mountinfo.Info, name string) bool {
	return slices.Contains(strings.Split(m.Options, ","), name)
}

// systemDirs are directories that all users must be able to search, besides those directly below
// the root.
var systemDirs = []string{
	"/usr/lib", "/usr/local", "/usr/share", "/var/lib", "/var/log", "/var/cache",
}

// remedy is what closes a view.
func (at *location) remedy(root string, v view) (string, error) {
	if v.path == v.mount.Mountpoint && v.path != at.host {
		return "umount " + v.path, nil
	}
	parent := path.Dir(v.path)
	dir, err := sys.OpenDir(path.Join(root, parent))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	i, err := dir.Look()
	if err != nil {
		return "", err
	}
	const sticky = 0o1000
	switch {
	case path.Dir(parent) == "/", slices.Contains(systemDirs, parent), i.Mode&sticky != 0:
		return "move it into a directory that belongs to root and has mode 0700", nil
	case i.UID != 0:
		return fmt.Sprintf("chown root %s && chmod 0700 %s", parent, parent), nil
	}
	return "chmod 0700 " + parent, nil
}
