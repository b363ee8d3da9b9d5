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
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

// cpuValid is the time for which the kernel may cache nodes of the CPU directory, where CPUs come
// and go.
const cpuValid = time.Second

// throttleDir is the directory in each cpuN that is not served: its counters leak what other
// containers do. Engines mask it (moby since 28.0.2), and the mount on the whole directory covers
// their masks.
const throttleDir = "thermal_throttle"

// cpuTree passes through the host's /sys/devices/system/cpu for reading. Paths are the host's,
// relative to that directory.
//
// A container has the directories cpu0 to cpu<n-1> for the n CPUs that its cpuinfo lists, and no
// others: programs count them (htop, older glibc), or read cpuN/online, which CPU 0 may lack. cpuI
// is the directory of the CPU of the host that is behind I. The file possible stays the host's,
// since programs size arrays by it that they index with the CPU number of the kernel (rseq(2),
// getcpu(2)).
type cpuTree struct {
	fs   *FS
	root sys.File

	mu    sync.Mutex
	paths map[uint64]string // by id in the shared tree
}

func openCPUTree(f *FS, sysRoot string) (*cpuTree, error) {
	root, err := sys.OpenDir(sysRoot + "/devices/system/cpu")
	return &cpuTree{fs: f, root: root, paths: map[uint64]string{idCPUDir: "."}}, err
}

func (t *cpuTree) path(id uint64) (string, error) {
	id = sharedNode(id)
	t.mu.Lock()
	p, ok := t.paths[id]
	t.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := t.search(id)
	if err != nil {
		return "", fmt.Errorf("find node %d below /sys/devices/system/cpu: %w", id, err)
	}
	return p, nil
}

// search finds a node that an earlier process has told the kernel. It searches breadth-first: with
// many CPUs there are thousands of files in subdirectories.
func (t *cpuTree) search(id uint64) (string, error) {
	for dirs := []string{"."}; len(dirs) > 0; dirs = dirs[1:] {
		entries, err := t.list(dirs[0])
		if err != nil && (!errors.Is(err, syscall.ENOENT) || dirs[0] == ".") {
			return "", err // at ENOENT a CPU was removed
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
func (t *cpuTree) remember(p string, id uint64) {
	t.mu.Lock()
	t.paths[id] = p
	t.mu.Unlock()
}

// list returns the entries of the directory p with their ids in the shared tree, sorted by name.
func (t *cpuTree) list(p string) ([]fuse.DirEntry, error) {
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
		if info, err := dir.StatAt(name); err == nil && name != throttleDir {
			entries = append(entries,
				fuse.DirEntry{Name: name, Mode: info.Mode, Ino: cpuDirBit | info.Number})
		}
	}
	return entries, nil
}

func (t *cpuTree) stat(p string) (sys.Inode, error) {
	if path.Base(p) == throttleDir {
		return sys.Inode{}, syscall.ENOENT
	}
	return t.root.StatAt(p)
}

func (t *cpuTree) lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error {
	dir, err := t.path(r.Node)
	if err != nil {
		return err
	}
	host, valid := name, cpuValid
	if differsByReader(dir, name) {
		rd := t.fs.getReader(r.TID)
		defer t.fs.putReader(rd)
		host, valid = toHost(dir, name, rd.visibleCPUs()), 0
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
	base := cpuDirBit | info.Number
	t.remember(p, base)
	if out.NodeId, err = tree.node(base); err != nil {
		return err
	}
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(cpuValid)
	cpuAttr(base, info, &out.Attr)
	return nil
}

// entries lists a directory as the thread sees it, in the order of the host's names.
func (t *cpuTree) entries(r *fusedev.Request) (entries []fuse.DirEntry, err error) {
	dir, err := t.path(r.Node)
	if err != nil {
		return nil, err
	}
	host, err := t.list(dir)
	var cpus *view.CPUs
	if slices.ContainsFunc(host, func(e fuse.DirEntry) bool { return differsByReader(dir, e.Name) }) {
		rd := t.fs.getReader(r.TID)
		defer t.fs.putReader(rd)
		cpus = rd.visibleCPUs()
	}
	for _, e := range host {
		if e.Name = toReader(dir, e.Name, cpus); e.Name != "" {
			entries = append(entries, e)
		}
	}
	return entries, err
}

func (t *cpuTree) attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error) {
	if sharedNode(r.Node) == idCPUDir {
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
	out.SetTimeout(cpuValid)
	cpuAttr(sharedNode(r.Node), info, &out.Attr)
	return false, nil
}

// cpuAttr describes a file of the host's sysfs, which cannot be written.
func cpuAttr(id uint64, info sys.Inode, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Blksize = id, 1, 4096
	out.Mode, out.Size = info.Mode, uint64(max(info.Size, 0))
	if !info.IsSymlink() {
		out.Mode &^= 0o222
	}
	now := time.Now()
	out.SetTimes(&now, &now, &now)
}

func (t *cpuTree) render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error) {
	p, err := t.path(r.Node)
	if err != nil {
		return dst, err
	}
	rd.file = t.metered(r.Node)
	if render := cpuRenderer(p); render != nil {
		if out, ok := rd.renderFor("cpu/"+p, render, dst); ok {
			return out, nil
		}
	}
	rd.buf, err = t.root.ReadFileAt(p, rd.buf)
	return append(dst, rd.buf...), err
}

func (t *cpuTree) hostContent(r *fusedev.Request, dst []byte) ([]byte, error) {
	p, err := t.path(r.Node)
	if err != nil {
		return dst, err
	}
	text, err := t.root.ReadFileAt(p, nil)
	return append(dst, text...), err
}

func (t *cpuTree) metered(id uint64) meter.File {
	switch p, err := t.path(id); {
	case err != nil || p == ".":
		return meter.NoFile
	case p == "online":
		return meter.CPUOnline
	case p == "offline":
		return meter.CPUOffline
	}
	return meter.CPUOther
}

func (t *cpuTree) readlink(id uint64) ([]byte, error) {
	p, err := t.path(id)
	if err != nil {
		return nil, err
	}
	return t.root.ReadlinkAt(append([]byte(p), 0), make([]byte, syscall.PathMax))
}

// visibleCPUs returns the CPUs that the reader's container sees, or nil if the reader gets the
// host's view. They are valid until putReader.
func (r *reader) visibleCPUs() *view.CPUs {
	r.file = meter.CPUOther
	read := func(r *reader, dst []byte) ([]byte, error) { return dst, r.readCPUs() }
	if _, ok := r.renderFor("cpu", read, nil); ok {
		return &r.cpus
	}
	return nil
}

// cpuNumber returns the number of the CPU whose directory has the name: 12 for "cpu12".
func cpuNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "cpu")
	cpu, err := strconv.Atoi(digits)
	return cpu, ok && err == nil && cpu >= 0 && cpuName(cpu) == name
}

func cpuName(cpu int) string { return "cpu" + strconv.Itoa(cpu) }

// differsByReader reports whether dir/name depends on the reader, so that the kernel must not cache
// it.
func differsByReader(dir, name string) bool {
	_, isCPU := cpuNumber(name)
	return dir == "." && isCPU
}

// toHost translates a name in dir, as a reader with the CPUs sees it, to the host's. It returns ""
// if the reader has no such file. For a reader of the host cpus is nil.
func toHost(dir, name string, cpus *view.CPUs) string {
	if cpus == nil || !differsByReader(dir, name) {
		return name
	}
	if cpu, _ := cpuNumber(name); cpu < cpus.Len() {
		return cpuName(cpus.Host(cpu))
	}
	return ""
}

// toReader is the inverse of toHost.
func toReader(dir, name string, cpus *view.CPUs) string {
	if cpus == nil || !differsByReader(dir, name) {
		return name
	}
	host, _ := cpuNumber(name)
	if cpu, ok := cpus.Index(host); ok {
		return cpuName(cpu)
	}
	return ""
}

// cpuRenderer returns the renderFunc of a file that differs from the host's, or nil.
func cpuRenderer(p string) renderFunc {
	switch p {
	case "online", "present", "enabled":
		return renderCPUOnline
	case "offline":
		return renderCPUOffline
	}
	cpu, ok := cpuNumber(path.Dir(p))
	if !ok || path.Base(p) != "online" {
		return nil
	}
	return func(r *reader, dst []byte) ([]byte, error) {
		if err := r.readCPUs(); err != nil {
			return dst, err
		}
		if _, ok := r.cpus.Index(cpu); ok {
			return append(dst, "1\n"...), nil
		}
		return append(dst, "0\n"...), nil // the container had the CPU when it opened the file
	}
}

func renderCPUOnline(r *reader, dst []byte) ([]byte, error) {
	err := r.readCPUs()
	return view.CPUOnline(dst, &r.cpus), err
}

func renderCPUOffline(r *reader, dst []byte) ([]byte, error) {
	possible, err := r.fs.host.Possible()
	if err != nil {
		return dst, err
	}
	err = r.readCPUs()
	return view.CPUOffline(dst, possible, &r.cpus), err
}
