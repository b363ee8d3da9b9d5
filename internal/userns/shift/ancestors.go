package shift

import (
	"fmt"
	"os"
	"path/filepath"

	"palisade/internal/idmap"
	"palisade/internal/sys"
	"palisade/internal/userns/idattr"
)

// ClosedAncestors are the directories on the way to path, and path itself if self is true, in which a container's root, as
// the host's user that it is, may not search: a runtime that has entered the user namespace cannot pass them.
func ClosedAncestors(path string, pair idmap.Pair, self bool) (Problems, error) {
	uid, gid, ok := pair.Root()
	if !ok {
		return nil, fmt.Errorf("the map %s has no root", pair)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	var problems Problems
	for at := path; ; at = filepath.Dir(at) {
		if at != path || self {
			ok, mode, err := MaySearch(at, uid, gid)
			if err != nil {
				return nil, err
			}
			if !ok {
				problems.add("chmod o+x "+at, "uid %d, gid %d may not search %s (mode %04o)", uid, gid, at, mode)
			}
		}
		if at == "/" {
			return problems, nil
		}
	}
}

// MaySearch tells whether a user who is in one group may search a directory, as the kernel decides it (path_resolution(7),
// acl(5), "ACCESS CHECK ALGORITHM").
func MaySearch(path string, uid, gid uint32) (ok bool, mode uint32, err error) {
	f, err := sys.OpenDir(path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	i, err := f.Look()
	if err != nil {
		return false, 0, err
	}
	acl, err := f.Attr(idattr.AccessACL)
	if err != nil {
		return false, 0, &os.PathError{Op: "read the access control list of", Path: path, Err: err}
	}
	mode = i.Mode & sys.SetModeBits
	if acl != nil {
		return idattr.MaySearch(acl, i.UID, i.GID, uid, gid), mode, nil
	}
	bit := uint32(0o001)
	switch {
	case uid == i.UID:
		bit = 0o100
	case gid == i.GID:
		bit = 0o010
	}
	return mode&bit != 0, mode, nil
}

// devptsGID is the group of /dev/pts, tty.
const devptsGID = 5

// CheckDevpts finds that the group which runtimes give to pseudo terminals, tty, is not mapped.
func CheckDevpts(pair idmap.Pair) (p Problems) {
	if _, ok := pair.GID.Host(devptsGID); !ok {
		p.add(fmt.Sprintf("an offset of at least %d, or no gid=%d for /dev/pts", devptsGID+1, devptsGID),
			"gid %d, which /dev/pts is usually mounted with, is not mapped", devptsGID)
	}
	return p
}
