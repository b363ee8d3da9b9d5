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

// environment identifies the namespaces and the root of a process by files that any user may read.
// The links in /proc/<pid>/ns need CAP_SYS_PTRACE.
type environment struct {
	// uidMap is the map of its user namespace. Only a privileged user can create another user
	// namespace with the map of this process, and there a uid is the same user.
	uidMap string
	// pidLevels is the number of pid namespaces from that of /proc to its own.
	pidLevels int
	// root is the device of its root file system, and the directory on it.
	root string
}

func readEnvironment(dir sys.File, status procfs.TaskStatus) (e environment, err error) {
	uidMap, err := dir.ReadFileAt("uid_map", nil)
	if err != nil {
		return e, fmt.Errorf("read uid_map: %w", err)
	}
	mounts, err := dir.ReadSomeAt("mountinfo", maxMounts, nil)
	switch {
	case err != nil:
		return e, fmt.Errorf("read mountinfo: %w", err)
	case len(mounts) == maxMounts:
		return e, fmt.Errorf("read mountinfo: larger than %d KiB", maxMounts>>10)
	}
	e = environment{string(uidMap), len(status.NSPids), rootMount(mounts)}
	if e.root == "" {
		return e, errors.New("the root directory is not a mount point")
	}
	return e, nil
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

// ownEnvironment returns the environment of this process.
var ownEnvironment = sync.OnceValues(func() (e environment, err error) {
	dir, err := sys.OpenDir("/proc/self")
	if err != nil {
		return e, err
	}
	defer dir.Close()
	status, err := procfs.ReadTaskStatus(dir)
	if err != nil {
		return e, err
	}
	return readEnvironment(dir, status)
})

// hierarchies returns the cgroup hierarchies of this host.
var hierarchies = sync.OnceValues(func() (*cgroup.FS, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return cgroup.Detect(table, "")
})

// examine returns the container IDs in the names of a process's cgroups. It returns none for a
// process of the host, which has the environment of this process, so that its uid is a user of the
// host. It fails for other processes.
func examine(p sys.Peer) (ids []string, err error) {
	if p.PID == 0 {
		return nil, errors.New("not in the pid namespace of authz-broker")
	}
	status, err := procfs.ReadTaskStatus(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	if !p.Pinned && status.UIDs[1] != p.UID {
		return nil, errors.New("pid reused by another process")
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
	own, err := ownEnvironment()
	if err != nil {
		return nil, err
	}
	peer, err := readEnvironment(p.Dir, status)
	switch {
	case err != nil:
		return nil, err
	case peer.uidMap != own.uidMap:
		return nil, errors.New("in another user namespace")
	case peer.pidLevels != own.pidLevels:
		return nil, errors.New("in another pid namespace")
	case peer.root != own.root:
		return nil, errors.New("root file system is not that of the host")
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
				return nil, fmt.Errorf("more than %d container IDs in the names of cgroups", maxIDs)
			}
			ids = append(ids, m[1])
		}
	}
	return ids, nil
}

// checkCreator checks that root or this user created the topmost cgroup with a container ID. Other
// users can give any name to cgroups in a subtree that is delegated to them.
func checkCreator(fs *cgroup.FS, cgroups []byte) error {
	paths, err := fs.ParsePaths(cgroups)
	if err != nil {
		return err
	}
	parents := fs.Dirs(paths.Map(aboveID))
	if len(parents) == 0 {
		return errors.New("cgroup is not in a mounted hierarchy")
	}
	for _, dir := range parents {
		i, err := sys.Stat(dir)
		if err != nil {
			return err
		}
		if i.UID != 0 && i.UID != uint32(os.Geteuid()) || i.Mode&0o022 != 0 {
			return fmt.Errorf("users other than root can create cgroups in %s", dir)
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
