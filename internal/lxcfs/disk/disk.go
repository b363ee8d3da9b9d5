// Package disk lists the disks that a container sees: those that have a device node in its /dev,
// and the one that holds its root directory.
package disk

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/view"
)

const (
	// maxAge is the maximum age of a list, or pauseFactor times the time that it took to make the
	// list if that is longer, up to maxPause: it may take long because the machine is busy.
	maxAge      = time.Second
	pauseFactor = 100
	maxPause    = 5 * time.Second
	// patience bounds the time that a reader waits for a list: a container may mount a FUSE file
	// system on its /dev that never answers, and a thread that waits serves no other reader.
	patience = 200 * time.Millisecond
	// maxDeviceNames bounds the names read in the container's /dev and the directories in it.
	maxDeviceNames = 2048
	// maxMountTable bounds the bytes read of the container's mount table, which it can make as long
	// as it likes. The root is at its beginning.
	maxMountTable = 64 << 10
	// maxScans bounds the scans in progress for one principal, and maxAllScans those for all. The
	// latter are also bounded by 1/scansPerFile of the descriptors that this process may have: a
	// file system that never answers keeps the thread and the descriptors of a scan.
	maxScans     = 8
	maxAllScans  = 64
	scansPerFile = 32
	// rootDiskName is the name of the disk that holds the container's root.
	rootDiskName = "sda"
)

// pause returns the time until a list that took so long may be made again.
func pause(took time.Duration) time.Duration {
	return max(maxAge, min(pauseFactor*took, maxPause))
}

// ErrPending means that the container's /dev has not answered yet.
var ErrPending = errors.New("the container's /dev does not answer")

// Container is the container of a reader; see package container.
type Container interface {
	// InitDir returns /proc/<pid> of the container's init.
	InitDir() sys.File
	Principal() *container.Principal
	Acquire()
	Release()
}

// Finder lists the disks of containers.
type Finder struct {
	mounts     hostMounts
	scans      *container.Quota
	hostNames  bool
	isHostRoot func(dir sys.Inode) bool
}

// NewFinder returns a Finder. With hostNames the disk of a container's root has the host's name
// instead of sda. proc is the host's /proc, and isHostRoot reports whether a directory is the
// host's root.
func NewFinder(
	proc sys.File, host *procfs.FS, hostNames bool, isHostRoot func(dir sys.Inode) bool,
) *Finder {
	return &Finder{
		mounts: hostMounts{proc: proc, disks: host.Slaves},
		scans: container.NewQuota(maxScans,
			max(maxScans, min(maxAllScans, sys.MaxOpenFiles()/scansPerFile))),
		hostNames: hostNames, isHostRoot: isHostRoot,
	}
}

// List is the list of the disks that a container sees. The zero value is ready for use.
type List struct {
	mu    sync.Mutex
	disks []view.Disk
	made  time.Time
	// until is the time until which the list is valid.
	until time.Time
	// atHostRoot is true if init's root was the host's. A runtime may read files before it enters
	// the container's root, so each read then checks the root again.
	atHostRoot bool
	// pending is closed when the scan in progress, which began at started, has ended. It is nil if
	// there is none.
	pending chan struct{}
	started time.Time
}

// Disks returns the disks that c sees. l is c's list; the result must not be changed. While one
// reader waits for a new list, the others get the previous one.
func (f *Finder) Disks(c Container, l *List) ([]view.Disk, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	isRecent := time.Now().Before(l.until) || l.pending != nil && !l.made.IsZero()
	if isRecent && !l.atHostRoot {
		return l.disks, nil
	}
	if l.pending == nil && f.scans.Take(c.Principal()) {
		l.pending, l.started = make(chan struct{}), time.Now()
		c.Acquire()
		go f.update(c, l)
	}
	if rest := patience - time.Since(l.started); rest > 0 && l.pending != nil {
		l.wait(rest)
	}
	if l.made.IsZero() {
		return nil, ErrPending
	}
	return l.disks, nil
}

// wait waits for the end of the scan in progress. l.mu is held, but not while it waits.
func (l *List) wait(timeout time.Duration) {
	pending := l.pending
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-pending:
	case <-time.After(timeout):
	}
}

func (f *Finder) update(c Container, l *List) {
	disks, atHostRoot, ok := f.scan(c, l)
	l.mu.Lock()
	if ok {
		l.disks, l.made, l.atHostRoot = disks, time.Now(), atHostRoot
		l.until = l.made.Add(pause(l.made.Sub(l.started)))
	}
	close(l.pending)
	l.pending = nil
	l.mu.Unlock()
	f.scans.Return(c.Principal())
	c.Release()
}

// scan lists the disks of c. It returns false if init's root is still the host's, and l valid.
func (f *Finder) scan(c Container, l *List) (disks []view.Disk, atHostRoot, ok bool) {
	root, err := c.InitDir().OpenDirAt("root")
	if err != nil {
		return nil, false, true
	}
	defer root.Close()
	info, err := root.StatAt("")
	atHostRoot = err == nil && f.isHostRoot(info)
	l.mu.Lock()
	isRecent := l.atHostRoot && atHostRoot && time.Now().Before(l.until)
	l.mu.Unlock()
	if isRecent {
		return nil, true, false
	}
	if dev, err := root.OpenDirInRoot("dev"); err == nil {
		defer dev.Close()
		disks = deviceNodes(dev)
	}
	rootDisk, known := f.rootDisk(c, info.FileSystem)
	if err != nil || !known {
		return disks, atHostRoot, true
	}
	disks = slices.DeleteFunc(disks, func(d view.Disk) bool { return d.Device == rootDisk })
	d := view.Disk{Device: rootDisk, Name: rootDiskName}
	if f.hostNames {
		d.Name = ""
	}
	return append(disks, d), atHostRoot, true
}

// deviceNodes lists the block devices in the container's /dev and its directories (/dev/mapper), by
// the names of their nodes.
func deviceNodes(dev sys.File) []view.Disk {
	s := nodeScan{names: maxDeviceNames}
	for _, name := range s.scan(dev, "") {
		if sub, err := dev.OpenDirInRoot(name); err == nil {
			s.scan(sub, name+"/")
			sub.Close()
		}
	}
	return s.disks
}

// nodeScan is a scan for device nodes in directories that a container fills.
type nodeScan struct {
	names int // how many more names are read
	disks []view.Disk
}

// scan adds the block devices in dir, and returns its directories. Of several nodes of one device,
// the first by name counts.
func (s *nodeScan) scan(dir sys.File, prefix string) (dirs []string) {
	names, err := dir.ListSome(s.names)
	if err != nil {
		return nil
	}
	s.names -= len(names)
	slices.Sort(names)
	for _, name := range names {
		info, err := dir.StatAt(name)
		switch {
		case err != nil || strings.ContainsFunc(name, isUnprintable):
		case info.IsBlockDevice():
			dev := procfs.Device(info.Device)
			if !slices.ContainsFunc(s.disks, func(d view.Disk) bool { return d.Device == dev }) {
				s.disks = append(s.disks, view.Disk{Device: dev, Name: prefix + name})
			}
		case info.IsDir():
			dirs = append(dirs, name)
		}
	}
	return dirs
}

// isUnprintable reports whether c is a space or not printable ASCII. The container chooses names.
func isUnprintable(c rune) bool { return c <= ' ' || c >= 0x7f }

// rootDisk returns the disk of the file system of c's root directory.
func (f *Finder) rootDisk(c Container, fs sys.DeviceNumber) (procfs.Device, bool) {
	if disk, ok := f.mounts.diskOf(fs, maxLayers); ok {
		return disk, true
	}
	// stat(2) returns a device number for each btrfs subvolume; the mount table has that of the file
	// system.
	text, err := c.InitDir().ReadSomeAt("mountinfo", maxMountTable, nil)
	if err != nil {
		return procfs.Device{}, false
	}
	if len(text) == maxMountTable {
		text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may be incomplete
	}
	fs, ok := rootFileSystem(text)
	if !ok {
		return procfs.Device{}, false
	}
	return f.mounts.diskOf(fs, maxLayers)
}

// rootFileSystem returns the device number of the file system that is mounted on / in a mount
// table. It uses no other field: only the kernel chooses the number, and the container chooses the
// rest.
func rootFileSystem(table []byte) (fs sys.DeviceNumber, ok bool) {
	atRoot := func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != "/", false }
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), atRoot)
	if err != nil || len(mounts) == 0 {
		return fs, false
	}
	return deviceNumber(mounts[len(mounts)-1]), true
}

func deviceNumber(m *mountinfo.Info) sys.DeviceNumber {
	return sys.DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)}
}
