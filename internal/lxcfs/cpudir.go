package lxcfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"palisade/internal/sys"
	"palisade/internal/view"
)

// cpuDirBit marks the node ids of what lies below sys/devices/system/cpu; the other bits are the inode number on the
// host's sysfs, which stays the same as long as the file is there. So an id means the same to every process.
const cpuDirBit = 1 << 62

// cpuDir is the host's /sys/devices/system/cpu, which is passed through for reading, but for the files that tell which
// CPUs are online.
type cpuDir struct {
	root sys.File

	mu    sync.Mutex
	paths map[uint64]string // by node id, relative to root
}

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
		if info, err := dir.StatAt(name); err == nil {
			entries = append(entries, cpuDirEntry{name, info})
		}
	}
	return entries, nil
}

// stat looks at the file p.
func (d *cpuDir) stat(p string) (sys.FileInfo, error) { return d.root.StatAt(p) }

// read returns the host's text of the file p.
func (d *cpuDir) read(p string, buf []byte) ([]byte, error) { return d.root.ReadFileAt(p, buf) }

// cpuOfOnline is the CPU whose online file p is: "cpu3/online" is 3's.
func cpuOfOnline(p string) (int, bool) {
	dir, ok := strings.CutSuffix(p, "/online")
	if !ok {
		return 0, false
	}
	number, ok := strings.CutPrefix(dir, "cpu")
	if !ok {
		return 0, false
	}
	cpu, err := strconv.Atoi(number)
	return cpu, err == nil
}

// renderCPUDir appends the text of a file below sys/devices/system/cpu: the host's, but for those that tell which CPUs
// are online.
func (f *FS) renderCPUDir(r *reader, id uint64, dst []byte) ([]byte, error) {
	p, err := f.cpuDir.path(id)
	if err != nil {
		return dst, err
	}
	r.file = cpuDirFile(p)
	if render := cpuDirRenderer(p); render != nil {
		if out, ok := f.renderFor(r, "cpu/"+p, render, dst); ok {
			return out, nil
		}
	}
	text, err := f.cpuDir.read(p, r.text)
	r.text = text
	return append(dst, text...), err
}

// cpuDirRenderer is the renderer of a file that differs from the host's, else nil.
func cpuDirRenderer(p string) renderer {
	switch p {
	case "online":
		return func(r *reader, dst []byte) ([]byte, error) {
			err := r.readCPUs()
			return view.CPUOnline(dst, &r.cpus), err
		}
	case "offline":
		return func(r *reader, dst []byte) ([]byte, error) {
			present, err := r.fs.host.Present()
			if err != nil {
				return dst, err
			}
			err = r.readCPUs()
			return view.CPUOffline(dst, present, &r.cpus), err
		}
	}
	cpu, ok := cpuOfOnline(p)
	if !ok {
		return nil
	}
	return func(r *reader, dst []byte) ([]byte, error) {
		if err := r.readCPUs(); err != nil {
			return dst, err
		}
		if cpu < r.cpus.Len() {
			return append(dst, "1\n"...), nil
		}
		return append(dst, "0\n"...), nil
	}
}
