package shift

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// ClosedAncestors returns a problem for each directory on the way to path, and for path itself if
// self is true, that the container's root may not search: a runtime that has entered the user
// namespace cannot pass it.
func ClosedAncestors(path string, pair idmap.Pair, self bool) (problems Problems, err error) {
	uid, gid, ok := pair.Root()
	if !ok {
		return nil, fmt.Errorf("map %s has no root", pair)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	for at := path; ; at = filepath.Dir(at) {
		if at != path || self {
			ok, mode, err := maySearch(at, uid, gid)
			if err != nil {
				return nil, err
			}
			if !ok {
				problems.add("chmod o+x "+at,
					"uid %d, gid %d may not search %s (mode %04o)", uid, gid, at, mode)
			}
		}
		if at == "/" {
			return problems, nil
		}
	}
}

// maySearch asks the kernel whether a user in one group may search a directory.
func maySearch(path string, uid, gid uint32) (ok bool, mode uint32, err error) {
	f, err := sys.OpenDir(path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	i, err := f.Statx()
	if err != nil {
		return false, 0, err
	}
	err = sys.AsOwner(uid, gid, func() error {
		_, err := f.StatAt(".")
		return err
	})
	if errors.Is(err, os.ErrPermission) {
		return false, i.Mode & sys.ChmodMask, nil
	}
	return err == nil, 0, err
}

// devptsGID is the group tty, to which runtimes give /dev/pts.
const devptsGID = 5

// checkDevpts returns a problem if the group of /dev/pts is not mapped.
func checkDevpts(pair idmap.Pair) (p Problems) {
	if _, ok := pair.GID.Host(devptsGID); !ok {
		p.add(fmt.Sprintf("an offset of at least %d, or no gid=%d for /dev/pts",
			devptsGID+1, devptsGID),
			"gid %d, which /dev/pts is usually mounted with, is not mapped", devptsGID)
	}
	return p
}
