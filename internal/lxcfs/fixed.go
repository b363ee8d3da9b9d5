package lxcfs

import (
	"bytes"
	"encoding/json"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/cli/version"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

// The ids of the nodes of the fixed tree.
const (
	idRoot = iota + 1
	idProc
	idCpuinfo
	idMeminfo
	idStat
	idUptime
	idSwaps
	idDiskstats
	idPartitions
	idLoadavg
	idSlabinfo
	idPressure
	idPressureCPU
	idPressureMemory
	idPressureIO
	idSys
	idSysDevices
	idSysDevicesSystem
	idCPUDir
	idStatus
	idPrivate
	numNodes
)

const (
	// fixedValid is the time for which the kernel may cache nodes of the fixed tree.
	fixedValid = 24 * time.Hour
	// fileSize is the size of a file whose content is unknown: a page, as in sysfs. With 0, as in
	// procfs, sendfile(2) of Linux 6.5 and later assumes an empty file (filemap_splice_read()).
	fileSize = 4096
)

// node is a file or directory of the fixed tree.
type node struct {
	id, parent uint64
	name       string
	mode       uint32
	// host is the path below /proc of the file whose content readers of the host get, or "".
	host string
	// hostMode, if not 0, is the mode of the host's file. A reader whom it does not allow to read
	// gets hidden instead of the host's content.
	hostMode uint32
	hidden   []byte
	// move, unless nil, appends the host's content for a reader whose CLOCK_BOOTTIME has an offset.
	move func(dst, host []byte, offset time.Duration) []byte
	// render renders the content for containers. It is nil for directories.
	render renderFunc
	// own renders the content for readers of the host if host is "".
	own func(f *FS, dst []byte) ([]byte, error)
	// file is the file as which the meter counts it.
	file meter.File
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

func dir(id, parent uint64, name string) node {
	return node{id: id, parent: parent, name: name, mode: syscall.S_IFDIR | 0o555}
}

func file(id uint64, file meter.File, render renderFunc) node {
	return node{
		id: id, parent: idProc, name: file.String(), mode: syscall.S_IFREG | 0o444,
		host: file.String(), render: render, file: file,
	}
}

// pressure returns a file of /proc/pressure, which every user may write to on a host.
func pressure(id uint64, file meter.File, resource string) node {
	return node{
		id: id, parent: idPressure, name: resource, mode: syscall.S_IFREG | 0o666,
		host: file.String(), render: renderPressure(resource), file: file,
	}
}

// nodes returns the fixed tree.
func nodes() []node {
	// The host's slabinfo is only for root. A container's says nothing about the host.
	slabinfo := file(idSlabinfo, meter.Slabinfo, renderSlabinfo)
	slabinfo.hostMode, slabinfo.hidden = syscall.S_IFREG|0o400, view.Slabinfo(nil, nil)
	// Every caller can look up the directory of the private trees: if a lookup failed with ENOENT
	// once, the kernel would unmount the mounts on all files below it, in all containers
	// (d_invalidate in fs/dcache.c).
	private := dir(idPrivate, idRoot, mounts.PrivateDir)
	private.mode = syscall.S_IFDIR | 0o700
	stat := file(idStat, meter.Stat, withHost((*procfs.FS).Stat, renderStat))
	uptime := file(idUptime, meter.Uptime, renderUptime)
	stat.move, uptime.move = view.MoveStat, view.MoveUptime
	return []node{
		dir(idRoot, 0, ""),
		private,
		dir(idProc, idRoot, "proc"),
		file(idCpuinfo, meter.Cpuinfo, withHost((*procfs.FS).Cpuinfo, renderCpuinfo)),
		file(idMeminfo, meter.Meminfo, withHost((*procfs.FS).Meminfo, renderMeminfo)),
		stat,
		uptime,
		file(idSwaps, meter.Swaps, withHost((*procfs.FS).Swaps, renderSwaps)),
		file(idDiskstats, meter.Diskstats, withHost((*procfs.FS).Diskstats, renderDiskstats)),
		file(idPartitions, meter.Partitions, withHost((*procfs.FS).Partitions, renderPartitions)),
		file(idLoadavg, meter.Loadavg, renderLoadavg),
		slabinfo,
		dir(idPressure, idProc, "pressure"),
		pressure(idPressureCPU, meter.PressureCPU, "cpu"),
		pressure(idPressureMemory, meter.PressureMemory, "memory"),
		pressure(idPressureIO, meter.PressureIO, "io"),
		dir(idSys, idRoot, "sys"),
		dir(idSysDevices, idSys, "devices"),
		dir(idSysDevicesSystem, idSysDevices, "system"),
		dir(idCPUDir, idSysDevicesSystem, "cpu"),
		{
			id: idStatus, parent: idRoot, name: probe.StatusFile, mode: syscall.S_IFREG | 0o400,
			render: renderNothing, own: (*FS).status, file: meter.Status,
		},
	}
}

// renderNothing renders a file that is only for the host.
func renderNothing(_ *reader, dst []byte) ([]byte, error) { return dst, nil }

// status appends the content of MOUNTPOINT/status.
func (f *FS) status(dst []byte) ([]byte, error) {
	text, err := json.Marshal(probe.Status{
		PID: os.Getppid(), Worker: os.Getpid(), Version: version.String(),
		Uptime: f.clock().Seconds(), Containers: f.finder.Len(), IsOff: f.off.Load(),
	})
	return append(append(dst, text...), '\n'), err
}

// fixedTree has the nodes that are the same for all readers, in the shared and the private trees.
type fixedTree struct {
	fs   *FS
	byID [numNodes]*node
}

// newFixedTree returns the tree of the nodes that exist on this host.
func newFixedTree(f *FS, exists func(*node) bool) *fixedTree {
	t := &fixedTree{fs: f}
	for _, n := range nodes() {
		if exists(&n) {
			t.byID[n.id] = &n
		}
	}
	return t
}

// node returns the node with the id, in the shared or a private tree, or nil.
func (t *fixedTree) node(id uint64) *node {
	if base := sharedNode(id); base < numNodes {
		return t.byID[base]
	}
	return nil
}

// pressureNode is node for pressure files, which accept triggers; others are nil.
func (t *fixedTree) pressureNode(id uint64) *node {
	if n := t.node(id); n != nil && n.parent == idPressure {
		return n
	}
	return nil
}

// child returns the node with the name in the directory parent, or nil.
func (t *fixedTree) child(parent uint64, name string) *node {
	tree, base := splitNode(parent)
	for _, n := range t.byID {
		if n != nil && n.parent == base && n.name == name && (n.id != idPrivate || tree == sharedTree) {
			return n
		}
	}
	return nil
}

// lookup finds a node. In a private tree only the host's root gets an entry, which the kernel must
// not cache, so that each lookup checks the caller. Other callers get ENOMEM: on any other error
// the kernel invalidates the dentry and unmounts the mounts on files below it
// (fuse_dentry_revalidate in fs/fuse/dir.c).
func (t *fixedTree) lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error {
	tree, _ := splitNode(r.Node)
	n := t.child(r.Node, name)
	switch r.Node {
	case idRoot:
		if name == probe.ContainersDir && t.fs.isHostRoot(r) {
			t.fs.containers.describe(idContainers, out)
			return nil
		}
	case idPrivate:
		var ok bool
		if tree, ok = parseTree(name); ok {
			n = t.node(idRoot)
		}
	}
	if n == nil {
		return syscall.ENOENT
	}
	if tree == sharedTree {
		out.SetEntryTimeout(fixedValid)
	} else if !t.fs.isHostProcess(r) {
		return syscall.ENOMEM
	}
	id, err := tree.node(n.id)
	if err != nil {
		return err
	}
	out.NodeId = id
	out.SetAttrTimeout(t.attrValid(n))
	t.fs.fixedAttr(n.id, n.mode, &out.Attr)
	return nil
}

// entries lists a directory. Private trees are not listed.
func (t *fixedTree) entries(r *fusedev.Request) (entries []fuse.DirEntry, err error) {
	for _, n := range t.byID {
		if n != nil && n.parent == sharedNode(r.Node) && n.id != idPrivate {
			entries = append(entries, fuse.DirEntry{Name: n.name, Mode: n.mode, Ino: n.id})
		}
	}
	if r.Node == idRoot && t.fs.isHostRoot(r) {
		entries = append(entries,
			fuse.DirEntry{Name: probe.ContainersDir, Mode: syscall.S_IFDIR, Ino: idContainers},
			fuse.DirEntry{Name: mounts.PrivateDir, Mode: syscall.S_IFDIR, Ino: idPrivate})
	}
	return entries, nil
}

func (t *fixedTree) attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error) {
	n := t.node(r.Node)
	if n == nil {
		return false, syscall.ENOENT
	}
	out.SetTimeout(t.attrValid(n))
	t.fs.fixedAttr(n.id, n.mode, &out.Attr)
	return !n.isDir(), nil
}

// attrValid returns the time for which the kernel may cache the attributes of a node.
func (t *fixedTree) attrValid(n *node) time.Duration {
	if n.isDir() || t.fs.fixedSizes {
		return fixedValid
	}
	return 0
}

func (t *fixedTree) render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error) {
	n := t.node(r.Node)
	switch {
	case n == nil:
		return dst, syscall.ENOENT
	case n.isDir():
		return dst, syscall.EISDIR
	}
	rd.file = n.file
	if out, ok := rd.renderFor(n.name, n.render, dst); ok {
		return out, nil
	}
	if n.own != nil {
		return n.own(t.fs, dst)
	}
	return t.hostContent(r, dst)
}

func (t *fixedTree) hostContent(r *fusedev.Request, dst []byte) ([]byte, error) {
	n := t.node(r.Node)
	switch {
	case n == nil || n.host == "":
		return dst, syscall.EIO
	case n.hostMode != 0 && !t.fs.mayAccess(r, n.hostMode, mayRead):
		return append(dst, n.hidden...), nil
	}
	return t.fs.hostFile(n, r.TID, dst)
}

// hostFile appends the content of the host's file that the thread tid gets.
func (f *FS) hostFile(n *node, tid uint32, dst []byte) ([]byte, error) {
	out, err := f.host.Raw(n.host, dst)
	if n.move == nil || err != nil {
		return out, err
	}
	offset, err := f.finder.BootOffset(tid, nil, new(container.Scratch))
	if offset == 0 || err != nil {
		return out, nil
	}
	return n.move(dst, bytes.Clone(out[len(dst):]), offset), nil
}

func (t *fixedTree) metered(id uint64) meter.File {
	if n := t.node(id); n != nil {
		return n.file
	}
	return meter.NoFile
}

// fixedAttr describes a node that is not of the host's sysfs. Its times stay the same while this
// process serves: tar complains about a file whose time changes while it is read.
func (f *FS) fixedAttr(id uint64, mode uint32, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = id, mode, 1, 4096
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		out.Nlink = 2
	} else {
		out.Size = fileSize
	}
	out.SetTimes(&f.made, &f.made, &f.made)
}

// onHost reports whether the host's /proc has the file and it can be opened. Without PSI pressure
// files exist, but cannot.
func (f *FS) onHost(name string) bool {
	file, err := sys.Open(f.opts.ProcRoot + "/" + name)
	file.Close()
	return err == nil
}
