package front

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

const (
	// maxMounts is the size limit in bytes of a process's mount table.
	maxMounts = 1 << 20
	// maxIDs is the limit of different container IDs in a process's cgroups.
	maxIDs = 8
)

// place is where a process is, as far as every user may read it. The links of namespaces could only
// be read with CAP_SYS_PTRACE.
type place struct {
	// uidMap is the map of its user namespace. Only a privileged user can create another one with
	// the map of this process's, in which a uid is the same user.
	uidMap string
	// pids is the number of pid namespaces from that of /proc to its own.
	pids int
	// root is the device of its root file system, and the directory on it.
	root string
}

func readPlace(dir sys.File, status procfs.TaskStatus) (p place, err error) {
	uidMap, err := dir.ReadFileAt("uid_map", nil)
	if err != nil {
		return p, fmt.Errorf("read uid_map: %w", err)
	}
	mounts, err := dir.ReadSomeAt("mountinfo", maxMounts, nil)
	switch {
	case err != nil:
		return p, fmt.Errorf("read mountinfo: %w", err)
	case len(mounts) == maxMounts:
		return p, fmt.Errorf("read mountinfo: larger than %d KiB", maxMounts>>10)
	}
	p = place{uidMap: string(uidMap), pids: len(status.NSPids), root: rootMount(mounts)}
	if p.root == "" {
		return p, errors.New("its root directory is not a mount")
	}
	return p, nil
}

// rootMount returns "MAJOR:MINOR DIRECTORY" of the topmost mount on / in /proc/<pid>/mountinfo, or
// "" if there is none.
func rootMount(mounts []byte) (root string) {
	for line := range bytes.Lines(mounts) {
		// The first fields are the mount's and its parent's ID, the device, the root and the mount
		// point (proc_pid_mountinfo(5)).
		if f := bytes.SplitN(line, []byte(" "), 6); len(f) == 6 && string(f[4]) == "/" {
			root = string(f[2]) + " " + string(f[3])
		}
	}
	return root
}

// ownPlace returns the place of this process.
var ownPlace = sync.OnceValues(func() (p place, err error) {
	dir, err := sys.OpenDir("/proc/self")
	if err != nil {
		return p, err
	}
	defer dir.Close()
	status, err := procfs.ReadTaskStatus(dir)
	if err != nil {
		return p, err
	}
	return readPlace(dir, status)
})

// hierarchies returns the cgroup hierarchies of this host.
var hierarchies = sync.OnceValues(func() (*cgroup.FS, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return cgroup.Detect(table, "")
})

// examine returns the IDs of containers in the names of a process's cgroups. It returns none for a
// process of the host, which has the place of this process: its ids are those of the host's users.
func examine(p sys.Peer) (ids []string, err error) {
	if p.PID == 0 {
		return nil, errors.New("it is not in the pid namespace of authz-broker")
	}
	status, err := procfs.ReadTaskStatus(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	if !p.Pinned && status.UIDs[1] != p.UID {
		return nil, errors.New("another process has its pid")
	}
	cgroups, err := p.Dir.ReadFileAt("cgroup", nil)
	if err != nil {
		return nil, fmt.Errorf("read cgroup: %w", err)
	}
	if ids, err = containerIDs(cgroups); err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		fs, err := hierarchies()
		if err != nil {
			return nil, err
		}
		return ids, checkCreator(fs, cgroups)
	}
	own, err := ownPlace()
	if err != nil {
		return nil, err
	}
	there, err := readPlace(p.Dir, status)
	switch {
	case err != nil:
		return nil, err
	case there.uidMap != own.uidMap:
		return nil, errors.New("it is in another user namespace")
	case there.pids != own.pids:
		return nil, errors.New("it is in another pid namespace")
	case there.root != own.root:
		return nil, errors.New("it has another root file system")
	}
	return nil, nil
}

// idPattern matches a container ID in a component of a cgroup's path, such as docker-ID.scope.
var idPattern = regexp.MustCompile(`(?:^|[^0-9a-f])([0-9a-f]{64})(?:[^0-9a-f]|$)`)

// containerIDs returns the container IDs in the paths of /proc/<pid>/cgroup.
func containerIDs(text []byte) (ids []string, err error) {
	for _, path := range cgroup.Memberships(text) {
		for component := range strings.SplitSeq(path, "/") {
			m := idPattern.FindStringSubmatch(component)
			if m == nil || slices.Contains(ids, m[1]) {
				continue
			}
			if len(ids) == maxIDs {
				return nil, fmt.Errorf("its cgroups have the IDs of more than %d containers", maxIDs)
			}
			ids = append(ids, m[1])
		}
	}
	return ids, nil
}

// checkCreator checks that in the cgroups with a container ID the first was created by root or by
// this user: others can give any name to cgroups below one that was delegated to them.
func checkCreator(fs *cgroup.FS, cgroups []byte) error {
	paths, err := fs.ParsePaths(cgroups)
	if err != nil {
		return err
	}
	parents := fs.Dirs(paths.Map(aboveID))
	if len(parents) == 0 {
		return errors.New("its cgroup is not below a mounted hierarchy")
	}
	for _, dir := range parents {
		i, err := sys.Stat(dir)
		if err != nil {
			return err
		}
		if i.UID != 0 && i.UID != uint32(os.Geteuid()) || i.Mode&0o022 != 0 {
			return fmt.Errorf("others than root can create cgroups in %s", dir)
		}
	}
	return nil
}

// aboveID returns the path above the first component with a container ID, or "" if none has one.
func aboveID(path string) string {
	above := ""
	for component := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if idPattern.MatchString(component) {
			return "/" + strings.TrimPrefix(above, "/")
		}
		above += "/" + component
	}
	return ""
}
