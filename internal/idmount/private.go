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

// LinkCheck fails if files below the directory at path have hard links outside it.
type LinkCheck func(path string) error

// OpenPrivate opens the directory at path. It fails with a ReachableError if the directory is not
// private, and with the error of check. It examines the paths in this process's mount namespace:
// through all mounts of the file system, through overlays that have the directory as a layer, and
// to the upper layer if the directory is on an overlay.
func OpenPrivate(path string, check LinkCheck) (*Private, error) {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return nil, err
	}
	p, err := newPrivate(dir)
	if err == nil {
		err = check(path)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return p, nil
}

// CheckPrivate fails as OpenPrivate does, without a check for hard links.
func CheckPrivate(path string) error {
	p, err := OpenPrivate(path, func(string) error { return nil })
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
	at, table, err := locateOpen(dir)
	if err != nil {
		return nil, err
	}
	p := &Private{dir: dir}
	if p.inode, err = dir.Look(); err != nil {
		return nil, err
	}
	if err := at.checkViews(table); err != nil {
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

// location is the place of a directory in the mount table.
type location struct {
	mount *mountinfo.Info
	// host is the path in this mount namespace, without symbolic links; inner is the path within the
	// file system.
	host, inner string
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
	return location{table[i], host, path.Join(table[i].Root, rest)}, nil
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
	known := make(map[string]bool) // by layer, since overlays share layers
	isLayer := func(layer string) bool {
		overlaps, ok := known[layer]
		if !ok {
			overlaps = at.overlaps(layer, table)
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

// isOn reports whether m is a mount of the directory's file system.
func (at *location) isOn(m *mountinfo.Info) bool {
	return m.Major == at.mount.Major && m.Minor == at.mount.Minor
}

// overlaps reports whether the directory other is, contains or is inside the location. A missing
// directory, such as a layer that was named in another mount namespace, overlaps nothing.
func (at *location) overlaps(other string, table []*mountinfo.Info) bool {
	dir, err := sys.OpenDir(other)
	if err != nil {
		return false
	}
	defer dir.Close()
	o, err := locate(dir, table)
	if err != nil || !at.isOn(o.mount) {
		return false
	}
	_, above := cutDir(at.inner, o.inner)
	_, below := cutDir(o.inner, at.inner)
	return above || below
}

// checkViews fails with a ReachableError if other users can search all directories of a view.
func (at *location) checkViews(table []*mountinfo.Info) error {
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
		w, err := walk(v.path, isInside)
		isHidden := errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotDir)
		if isHidden || err == nil && w.mountID != v.mount.ID {
			continue // another mount hides it
		}
		if err != nil {
			return err
		}
		found = found || v.mount == at.mount
		isMapped := isMapped(v.mount) && !v.isPart
		if !v.isPart && !isMapped {
			onDisk = int64(w.uid)
		}
		switch {
		case w.isClosed || hasOption(v.mount, "nosuid"):
		case isMapped:
			mapped[v] = w.uid
		default:
			reachable = append(reachable, v)
		}
	}
	if !found {
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
	remedy, err := at.remedy(reachable[0])
	if err != nil {
		return err
	}
	return &ReachableError{reachable[0].path, remedy}
}

// pathInfo describes the file at the end of a path.
type pathInfo struct {
	mountID int
	uid     uint32
	// isClosed reports that a directory above the file is closed to other users.
	isClosed bool
}

var errNotDir = errors.New("not a directory")

// walk walks from the root directory to the file, following no symbolic link. Directories for which
// isInside is true are not considered closed, since the container can change them.
func walk(file string, isInside func(string) bool) (w pathInfo, err error) {
	dir, err := sys.OpenPath("/")
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
		w.isClosed = w.isClosed || isClosed(&i) && !isInside(at)
		next, err := dir.OpenPathAt(name)
		if err != nil {
			return w, err
		}
		dir.Close()
		dir, at = next, path.Join(at, name)
	}
	i, err := dir.Look()
	if err != nil {
		return w, err
	}
	w.uid = i.UID
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

// remedy returns the command, or the advice, that closes a view.
func (at *location) remedy(v view) (string, error) {
	if v.path == v.mount.Mountpoint && v.path != at.host {
		return "umount " + v.path, nil
	}
	parent := path.Dir(v.path)
	dir, err := sys.OpenDir(parent)
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

// OverlayLayers returns the directories of an overlay's layers that its options name by absolute
// paths. Symbolic links in the paths are resolved.
func OverlayLayers(overlay *mountinfo.Info) (paths []string) {
	for _, p := range optionPaths(overlay.VFSOptions, "lowerdir", "upperdir", "workdir") {
		if resolved, err := filepath.EvalSymlinks(p); err == nil && filepath.IsAbs(p) {
			paths = append(paths, resolved)
		}
	}
	return paths
}

// optionPaths returns the paths in the values of the mount options with these keys.
func optionPaths(options string, keys ...string) (paths []string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if slices.Contains(keys, strings.TrimSuffix(key, "+")) {
			paths = append(paths, strings.Split(value, ":")...)
		}
	}
	return paths
}
