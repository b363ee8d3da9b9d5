package lxcfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"syscall"

	"palisade/internal/linux/sys"
)

// cpuDirBit marks the node ids of what lies below sys/devices/system/cpu; the other bits are the inode number on the
// host's sysfs, which stays the same as long as the file is there. So an id means the same to every process.
const cpuDirBit = 1 << 62

// cpuDir is the host's /sys/devices/system/cpu, which is passed through for reading. Paths in it
// are the host's; cpuview.go maps the names that a container sees to them.
type cpuDir struct {
	root sys.File

	mu    sync.Mutex
	paths map[uint64]string // by node id, relative to root
}

// throttleDir is the directory in each cpuN that is not served: its counters leak what other
// containers do. Engines mask it (moby since 28.0.2), and the mount on the whole directory covers
// their masks.
const throttleDir = "thermal_throttle"

func openCPUDir(sysRoot string) (*cpuDir, error) {
	root, err := sys.OpenDir(sysRoot + "/devices/system/cpu")
	if err != nil {
		return nil, err
	}
	return &cpuDir{root: root, paths: make(map[uint64]string)}, nil
}

// path is where the node lies, relative to the directory; "." is itself.
func (d *cpuDir) path(id uint64) (string, error) {
	id = sharedNode(id)
	if id == idCPUDir {
		return ".", nil
	}
	d.mu.Lock()
	p, ok := d.paths[id]
	d.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := d.search(id)
	if err != nil {
		return "", fmt.Errorf("find node %d below /sys/devices/system/cpu: %w", id, err)
	}
	return p, nil
}

// search looks for a node that an earlier process told the kernel of. It comes to files that are near the root first: with
// many CPUs there are thousands of others.
func (d *cpuDir) search(id uint64) (string, error) {
	for dirs := []string{"."}; len(dirs) > 0; dirs = dirs[1:] {
		entries, err := d.list(dirs[0])
		if err != nil && !(errors.Is(err, syscall.ENOENT) && dirs[0] != ".") { // a CPU may have been removed
			return "", err
		}
		for _, e := range entries {
			p := path.Join(dirs[0], e.name)
			if d.remember(p, e.info) == id {
				return p, nil
			}
			if e.info.IsDir() {
				dirs = append(dirs, p)
			}
		}
	}
	return "", syscall.ENOENT
}

// remember stores the path of a file, and returns its node id in the shared tree.
func (d *cpuDir) remember(p string, info sys.FileInfo) uint64 {
	id := cpuDirBit | info.Inode
	d.mu.Lock()
	d.paths[id] = p
	d.mu.Unlock()
	return id
}

type cpuDirEntry struct {
	name string
	info sys.FileInfo
}

// list returns what the directory p holds, sorted by name.
func (d *cpuDir) list(p string) ([]cpuDirEntry, error) {
	dir, err := d.root.OpenDirAt(p)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	entries := make([]cpuDirEntry, 0, len(names))
	for _, name := range names {
		if info, err := dir.StatAt(name); err == nil && name != throttleDir {
			entries = append(entries, cpuDirEntry{name, info})
		}
	}
	return entries, nil
}

// stat looks at the file p.
func (d *cpuDir) stat(p string) (sys.FileInfo, error) {
	if path.Base(p) == throttleDir {
		return sys.FileInfo{}, syscall.ENOENT
	}
	return d.root.StatAt(p)
}

// read returns the host's text of the file p.
func (d *cpuDir) read(p string, buf []byte) ([]byte, error) { return d.root.ReadFileAt(p, buf) }
