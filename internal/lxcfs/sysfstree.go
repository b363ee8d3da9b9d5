package lxcfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
)

// sysfsValid is the time for which the kernel may cache nodes of the sysfs tree, where CPUs come and
// go.
const sysfsValid = time.Second

// throttleDir is the directory in each cpuN that is not served: its counters leak what other
// containers do. Engines mask it (moby since 28.0.2), and the mount on the whole directory covers
// their masks.
const throttleDir = "thermal_throttle"

// sysfsTree passes through the directories cpu and node of the host's /sys/devices/system for
// reading. Paths are the host's, relative to that directory.
//
// A container has the directories cpu/cpu0 to cpu/cpu<n-1> for the n CPUs that its cpuinfo lists,
// and no others: programs count them (htop, older glibc), or read cpuN/online, which CPU 0 may lack.
// cpuI is the directory of the CPU of the host that is behind I. The file possible stays the host's,
// since programs size arrays by it that they index with the CPU number of the kernel (rseq(2),
// getcpu(2)).
//
// It has the directories node/nodeN for the NUMA nodes on which it may allocate memory, under the
// host's numbers, which mbind(2) and get_mempolicy(2) use.
type sysfsTree struct {
	fs   *FS
	root sys.File

	mu    sync.Mutex
	paths map[uint64]string // by id in the shared tree
}

func openSysfsTree(f *FS, sysRoot string) (*sysfsTree, error) {
	root, err := sys.OpenDir(sysRoot + "/devices/system")
	return &sysfsTree{fs: f, root: root, paths: topPaths()}, err
}

func topPaths() map[uint64]string { return map[uint64]string{idCPUDir: "cpu", idNodeDir: "node"} }

func (t *sysfsTree) path(id uint64) (string, error) {
	id = sharedNode(id)
	t.mu.Lock()
	p, ok := t.paths[id]
	t.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := t.search(id)
	if err != nil {
		return "", fmt.Errorf("find node %d below /sys/devices/system: %w", id, err)
	}
	return p, nil
}

// search finds a node that an earlier process has told the kernel. It searches breadth-first: with
// many CPUs there are thousands of files in subdirectories.
func (t *sysfsTree) search(id uint64) (string, error) {
	for dirs := []string{"cpu", "node"}; len(dirs) > 0; dirs = dirs[1:] {
		entries, err := t.list(dirs[0])
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			return "", err // at ENOENT a CPU was removed, or the kernel has no NUMA
		}
		for _, e := range entries {
			p := path.Join(dirs[0], e.Name)
			if t.remember(p, e.Ino); e.Ino == id {
				return p, nil
			}
			if e.Mode&syscall.S_IFMT == syscall.S_IFDIR {
				dirs = append(dirs, p)
			}
		}
	}
	return "", syscall.ENOENT
}

// remember stores the path of a file with the id in the shared tree.
func (t *sysfsTree) remember(p string, id uint64) {
	t.mu.Lock()
	t.paths[id] = p
	t.mu.Unlock()
}

// list returns the entries of the directory p with their ids in the shared tree, sorted by name.
func (t *sysfsTree) list(p string) ([]fuse.DirEntry, error) {
	dir, err := t.root.OpenDirAt(p)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	entries := make([]fuse.DirEntry, 0, len(names))
	for _, name := range names {
		if !isServed(p, name) {
			continue
		}
		if info, err := dir.StatAt(name); err == nil {
			entries = append(entries,
				fuse.DirEntry{Name: name, Mode: info.Mode, Ino: sysfsBit | info.Number})
		}
	}
	return entries, nil
}

func (t *sysfsTree) stat(p string) (sys.Inode, error) {
	if dir, name := path.Split(p); !isServed(path.Clean(dir), name) {
		return sys.Inode{}, syscall.ENOENT
	}
	return t.root.StatAt(p)
}

func (t *sysfsTree) lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error {
	dir, err := t.path(r.Node)
	if err != nil {
		return err
	}
	host, valid := name, sysfsValid
	if differsByReader(dir, name) {
		rd := t.fs.getReader(r.TID)
		defer t.fs.putReader(rd)
		host, valid = rd.visible().toHost(dir, name), 0
	}
	if host == "" {
		return syscall.ENOENT
	}
	p := path.Join(dir, host)
	info, err := t.stat(p)
	if err != nil {
		return err
	}
	tree, _ := splitNode(r.Node)
	base := sysfsBit | info.Number
	t.remember(p, base)
	if out.NodeId, err = tree.node(base); err != nil {
		return err
	}
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(sysfsValid)
	sysfsAttr(base, info, &out.Attr)
	return nil
}

// entries lists a directory as the thread sees it, in the order of the host's names.
func (t *sysfsTree) entries(r *fusedev.Request) (entries []fuse.DirEntry, err error) {
	dir, err := t.path(r.Node)
	if err != nil {
		return nil, err
	}
	host, err := t.list(dir)
	var v *visible
	if slices.ContainsFunc(host, func(e fuse.DirEntry) bool { return differsByReader(dir, e.Name) }) {
		rd := t.fs.getReader(r.TID)
		defer t.fs.putReader(rd)
		v = rd.visible()
	}
	for _, e := range host {
		if e.Name = v.toReader(dir, e.Name); e.Name != "" {
			entries = append(entries, e)
		}
	}
	return entries, err
}

func (t *sysfsTree) attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error) {
	if base := sharedNode(r.Node); base == idCPUDir || base == idNodeDir {
		return t.fs.fixed.attr(r, out)
	}
	p, err := t.path(r.Node)
	if err != nil {
		return false, err
	}
	info, err := t.stat(p)
	if err != nil {
		return false, err
	}
	out.SetTimeout(sysfsValid)
	sysfsAttr(sharedNode(r.Node), info, &out.Attr)
	return false, nil
}

// sysfsAttr describes a file of the host's sysfs, which cannot be written.
func sysfsAttr(id uint64, info sys.Inode, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Blksize = id, 1, 4096
	out.Mode, out.Size = info.Mode, uint64(max(info.Size, 0))
	if !info.IsSymlink() {
		out.Mode &^= 0o222
	}
	now := time.Now()
	out.SetTimes(&now, &now, &now)
}

func (t *sysfsTree) render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error) {
	p, err := t.path(r.Node)
	if err != nil {
		return dst, err
	}
	rd.file = meteredPath(p)
	if render := rd.sysfsRenderer(p); render != nil {
		if out, ok := rd.renderFor(p, render, dst); ok {
			return out, nil
		}
	}
	rd.buf, err = t.root.ReadFileAt(p, rd.buf)
	return append(dst, rd.buf...), err
}

func (t *sysfsTree) hostContent(r *fusedev.Request, dst []byte) ([]byte, error) {
	p, err := t.path(r.Node)
	if err != nil {
		return dst, err
	}
	text, err := t.root.ReadFileAt(p, nil)
	return append(dst, text...), err
}

func (t *sysfsTree) metered(id uint64) meter.File {
	p, err := t.path(id)
	if err != nil {
		return meter.NoFile
	}
	return meteredPath(p)
}

func meteredPath(p string) meter.File {
	switch {
	case p == "cpu" || p == "node":
		return meter.NoFile
	case p == "cpu/online":
		return meter.CPUOnline
	case p == "cpu/offline":
		return meter.CPUOffline
	case strings.HasPrefix(p, "node/"):
		return meter.Node
	}
	return meter.CPUOther
}

// readlink returns the target of a link. Links from a node to its CPUs have the reader's numbers.
func (t *sysfsTree) readlink(r *fusedev.Request) ([]byte, error) {
	p, err := t.path(r.Node)
	if err != nil {
		return nil, err
	}
	target, err := t.root.ReadlinkAt(append([]byte(p), 0), make([]byte, syscall.PathMax))
	dir, name := path.Dir(p), path.Base(p)
	if _, isCPU := cpuNumber(dir, name); err != nil || !isCPU || !differsByReader(dir, name) {
		return target, err
	}
	rd := t.fs.getReader(r.TID)
	defer t.fs.putReader(rd)
	if name = rd.visible().toReader(dir, name); name == "" {
		return nil, syscall.ENOENT
	}
	return []byte(path.Join(path.Dir(string(target)), name)), nil
}
