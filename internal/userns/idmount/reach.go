package idmount

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/walk"
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

// errMoved is the error for a path that does not lead where it should by the mount table.
var errMoved = errors.New("a directory above the tree was moved meanwhile")

// checkInitViews checks the views in the mount namespace of process 1, if that is not this
// process's own: a service manager may have given the engine another one.
func (at *location) checkInitViews(isLast bool) error {
	const process = "/proc/1"
	isSame, _, err := sameNamespace(process, "mnt")
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return nil // as in a container, where process 1 is not the host's
	} else if err != nil {
		return fmt.Errorf("find the mount namespace of process 1: %w", err)
	}
	if isSame {
		return nil
	}
	table, err := MountsOf(process)
	if err != nil {
		return fmt.Errorf("read the mount table of process 1: %w", err)
	}
	return at.checkViews(process+"/root", table, isLast)
}

// checkViews fails with a ReachableError if other users can pass all directories of a view. root is
// the root directory of the mount table. Where a view is not found though no mount hides it, some
// user has moved a directory above it: checkViews fails with errMoved, or, if isLast, takes the
// view for one that other users reach.
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
		w, err := follow(root, v.path, isInside)
		isHidden := errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotDir)
		isHidden = isHidden || err == nil && w.mountID != v.mount.ID
		if isHidden && v.isCovered(table) {
			continue
		}
		if err != nil && !isHidden {
			return err
		}
		if isHidden || !v.isPart && walk.KeyOf(&w.inode) != walk.KeyOf(&at.inode) {
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
		case HasOption(v.mount.Options, "nosuid"):
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

type pathInfo struct {
	mountID int
	inode   sys.Inode
	// behind is the directory after the last closed one on the path, "" if none is closed.
	behind string
}

var errNotDir = errors.New("not a directory")

// follow goes from the root directory to the file at path, following no symbolic link. Directories
// inside the tree count for nothing, since its container can change them.
func follow(root, file string, isInside func(string) bool) (w pathInfo, err error) {
	dir, err := sys.OpenPath(root)
	if err != nil {
		return w, err
	}
	defer func() { dir.Close() }()
	at := "/"
	for name := range strings.FieldsFuncSeq(file, func(r rune) bool { return r == '/' }) {
		i, err := dir.Statx()
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
	if w.inode, err = dir.Statx(); err != nil {
		return w, err
	}
	w.mountID, err = dir.MountID()
	return w, err
}

// searchOthers are the search permissions of a directory's group and of others. With an access
// control list, the group bits are its mask (acl(5)).
const searchOthers = 0o011

func isClosed(dir *sys.Inode) bool { return dir.UID == 0 && dir.Mode&searchOthers == 0 }

// systemDirs are directories that all users must be able to search, besides those directly below
// the root.
var systemDirs = []string{
	"/usr/lib", "/usr/local", "/usr/share", "/var/lib", "/var/log", "/var/cache",
}

func (at *location) remedy(root string, v view) (string, error) {
	if v.path == v.mount.Mountpoint && v.path != at.host {
		return "umount " + v.path, nil
	}
	parent := path.Dir(v.path)
	info, err := os.Stat(path.Join(root, parent))
	if err != nil {
		return "", err
	}
	isSticky := info.Mode()&os.ModeSticky != 0
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case path.Dir(parent) == "/", slices.Contains(systemDirs, parent), isSticky:
		return "move it into a directory that belongs to root and has mode 0700", nil
	case ok && stat.Uid != 0:
		return fmt.Sprintf("chown root %s && chmod 0700 %s", parent, parent), nil
	}
	return "chmod 0700 " + parent, nil
}
