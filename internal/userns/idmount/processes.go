package idmount

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// findProcesses returns a ReachableError for each of the locations that a process of another user
// is in, or has a file of open, by a mount through which set-id bits count for it: no closed
// directory above stops it. The kernel ignores the bits on mounts of other mount namespaces
// (path_nosuid), and those of the host's root in a user namespace that does not have it.
func findProcesses(
	locations []*location, table []*mountinfo.Info,
) (map[*location]*ReachableError, error) {
	if len(locations) == 0 {
		return nil, nil
	}
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		return nil, fmt.Errorf("find processes in %s: %w", locations[0].host, err)
	}
	found := make(map[*location]*ReachableError)
	others := make(map[uint64][]*mountinfo.Info)
	for _, pid := range pids {
		process := "/proc/" + strconv.Itoa(pid)
		if procfs.IsHostRoot(process) {
			continue
		}
		foreign := foreignMounts(process, others)
		for link := range sys.ProcessLinks(pid) {
			open, ok := openFileOf(link)
			if !ok {
				continue
			}
			for _, at := range locations {
				if found[at] == nil && at.isReachedBy(&open, table, foreign) {
					found[at] = &ReachableError{open.path,
						fmt.Sprintf("stop process %d, which has it open", pid)}
				}
			}
		}
	}
	return found, nil
}

// openFile is a file that a process uses.
type openFile struct {
	path  string
	inode sys.Inode
}

// openFileOf returns the target of a link in procfs, if it is a file of a mount.
func openFileOf(link string) (openFile, bool) {
	i, err := sys.StatxCached(link)
	if err != nil || i.MountID == 0 {
		return openFile{}, false // closed meanwhile
	}
	path, err := os.Readlink(link)
	return openFile{path, i}, err == nil
}

// foreignMounts returns the mounts of a process that is in another mount namespace, but not in
// another user namespace.
func foreignMounts(process string, known map[uint64][]*mountinfo.Info) []*mountinfo.Info {
	if isSame, _, err := sameNamespace(process, "user"); err != nil || !isSame {
		return nil // it may have ended
	}
	isSame, ns, err := sameNamespace(process, "mnt")
	if err != nil || isSame {
		return nil
	}
	if _, ok := known[ns]; !ok {
		mounts, err := MountsOf(process)
		if err != nil {
			return nil
		}
		known[ns] = mounts
	}
	return known[ns]
}

// isReachedBy reports whether an open file is in the directory, or is a directory from which that
// can be reached.
func (at *location) isReachedBy(open *openFile, own, foreign []*mountinfo.Info) bool {
	m := mountByID(own, open.inode.MountID)
	if m == nil {
		m = mountByID(foreign, open.inode.MountID)
	} else if open.inode.IsDir() && at.isBehind(open.path) {
		return true
	}
	if m == nil || !at.isOn(m) || isMapped(m) || HasOption(m.Options, "nosuid") {
		return false
	}
	rest, ok := cutDir(open.path, m.Mountpoint)
	if !ok {
		return true // a directory above the mount was moved just now
	}
	_, ok = cutDir(path.Join(m.Root, rest), at.inner)
	return ok
}

// isBehind reports whether no closed directory is between a directory and the location.
func (at *location) isBehind(dir string) bool {
	return slices.ContainsFunc(at.behind, func(closed string) bool {
		_, ok := cutDir(dir, closed)
		return ok
	})
}
