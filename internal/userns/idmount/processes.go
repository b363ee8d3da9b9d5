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

// checkProcesses fails with a ReachableError if a process of another user is in the directory, or
// has a file of it open, by a mount through which set-id bits count for it: no closed directory
// above stops it. The kernel ignores the bits on mounts of other mount namespaces (path_nosuid),
// and those of the host's root in a user namespace that does not have it.
func (at *location) checkProcesses(table []*mountinfo.Info) error {
	pids, err := sys.ListNumbers("/proc")
	if err != nil {
		return fmt.Errorf("find processes in %s: %w", at.host, err)
	}
	others := make(map[uint64][]*mountinfo.Info)
	for _, pid := range pids {
		process := "/proc/" + strconv.Itoa(pid)
		if procfs.IsHostRoot(process) {
			continue
		}
		foreign := foreignMounts(process, others)
		for link := range sys.ProcessLinks(pid) {
			if file := at.reachedBy(link, table, foreign); file != "" {
				return &ReachableError{file, fmt.Sprintf("stop process %d, which has it open", pid)}
			}
		}
	}
	return nil
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

// reachedBy returns the target of a link in procfs, if it is in the directory, or is a directory
// from which that can be reached.
func (at *location) reachedBy(link string, own, foreign []*mountinfo.Info) string {
	i, err := sys.StatxCached(link)
	if err != nil || i.MountID == 0 {
		return "" // closed meanwhile
	}
	file, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	m := mountByID(own, i.MountID)
	if m == nil {
		m = mountByID(foreign, i.MountID)
	} else if at.isReachedBehind(link, file) {
		return file
	}
	if m == nil || !at.isOn(m) || isMapped(m) || HasOption(m.Options, "nosuid") {
		return ""
	}
	if rest, ok := cutDir(file, m.Mountpoint); ok {
		if _, ok := cutDir(path.Join(m.Root, rest), at.inner); !ok {
			return ""
		}
	} // else a directory above the mount was moved just now
	return file
}

// isReachedBehind reports whether the target of a link is a directory without a closed one between
// it and the location.
func (at *location) isReachedBehind(link, file string) bool {
	isBefore := func(dir string) bool {
		_, ok := cutDir(file, dir)
		return ok
	}
	if !slices.ContainsFunc(at.behind, isBefore) {
		return false
	}
	i, err := sys.StatxCached(link)
	return err == nil && i.IsDir()
}
