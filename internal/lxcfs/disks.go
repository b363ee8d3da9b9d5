package lxcfs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

const (
	// disksMaxAge is the maximum age of a list of a container's disks, or restAfterLook times the
	// time that it took to make the list, if that is longer.
	disksMaxAge   = time.Second
	restAfterLook = 100
	// diskPatience is how long a reader waits for a list at the most: a container may have a file system of its own
	// making on its /dev, which never answers, and a thread that waits for it serves nobody else.
	diskPatience = 200 * time.Millisecond
	// maxDeviceNames bounds the names that are read in the container's /dev and the directories below it.
	maxDeviceNames = 2048
	// maxMountTable bounds what is read of the container's mount table, in bytes: it can make that as long as it likes. The
	// root stands at its beginning.
	maxMountTable = 64 << 10
	// maxLooks bounds the lists in progress for one principal, and maxAllLooks those for all. The
	// latter are also bounded by 1/looksOfFiles of the open files that this process may have: a file
	// system that never answers keeps the thread and the files of a look.
	maxLooks     = 8
	maxAllLooks  = 64
	looksOfFiles = 32
	// rootDiskName is what the disk that holds the container's root is called.
	rootDiskName = "sda"
)

// diskList is the list of the disks that a container sees. One look at a time is under way, and nobody waits for it
// beyond his patience.
type diskList struct {
	mu    sync.Mutex
	disks []view.Disk
	made  time.Time
	// until is the time until which the list is not made again.
	until time.Time
	// atHostRoot is set if init's root was the host's. A runtime may read files before it enters the
	// container's root, so each read then checks the root again.
	atHostRoot bool
	// pending is closed when the look that is under way has ended, which began at started; nil where none is.
	pending chan struct{}
	started time.Time
}

var errDisksPending = errors.New("the container's /dev does not answer")

// newLooks returns the bounds on the lists in progress.
func newLooks() *shares {
	return newShares(maxLooks, max(maxLooks, min(maxAllLooks, sys.MaxOpenFiles()/looksOfFiles)))
}

// disks returns the disks that the container sees; the list is shared and must not be changed.
// While one reader makes a new list, the others get the previous one.
func (r *reader) disks() ([]view.Disk, error) {
	l := &r.guest().diskList
	l.mu.Lock()
	defer l.mu.Unlock()
	isRecent := time.Now().Before(l.until) || l.pending != nil && !l.made.IsZero()
	if isRecent && !l.atHostRoot {
		return l.disks, nil
	}
	if l.pending == nil && r.fs.looks.take(r.c.Principal()) {
		l.pending, l.started = make(chan struct{}), time.Now()
		r.c.Acquire()
		go r.fs.lookAtDisks(r.c, l)
	}
	if patience := diskPatience - time.Since(l.started); patience > 0 && l.pending != nil {
		l.wait(patience)
	}
	if l.made.IsZero() {
		return nil, errDisksPending
	}
	return l.disks, nil
}

// wait waits for the end of the look that is under way; l.mu is held, but not meanwhile.
func (l *diskList) wait(patience time.Duration) {
	pending := l.pending
	l.mu.Unlock()
	defer l.mu.Lock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-pending:
	case <-timer.C:
	}
}

// lookAtDisks makes a new list for c, which it releases.
func (f *FS) lookAtDisks(c *knownContainer, l *diskList) {
	defer c.Release()
	defer f.looks.giveBack(c.Principal())
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.pending)
		l.pending = nil
	}()
	var atHostRoot bool
	root, err := c.InitDir().OpenDirAt("root")
	if err == nil {
		defer root.Close()
		info, err := root.StatAt("")
		atHostRoot = err == nil && f.finder.IsHostRoot(info)
	}
	l.mu.Lock()
	isRecent := l.atHostRoot && atHostRoot && time.Now().Before(l.until)
	l.mu.Unlock()
	if isRecent {
		return
	}
	var disks []view.Disk
	if root.IsOpen() {
		disks = f.seenDisks(c, root)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disks, l.made, l.atHostRoot = disks, time.Now(), atHostRoot
	rest := min(restAfterLook*l.made.Sub(l.started), maxRest)
	l.until = l.made.Add(max(disksMaxAge, rest))
}

// seenDisks lists the block devices that have a node in the container's /dev, under the name of that node, and the disk
// that holds its root directory.
func (f *FS) seenDisks(c *knownContainer, root sys.File) []view.Disk {
	var disks []view.Disk
	if dev, err := root.OpenDirInRoot("dev"); err == nil {
		defer dev.Close()
		disks = nodesBelow(dev)
	}
	rootDisk, ok := f.rootDisk(c, root)
	if !ok {
		return disks
	}
	disks = slices.DeleteFunc(disks, func(d view.Disk) bool { return d.Device == rootDisk })
	d := view.Disk{Device: rootDisk, Name: rootDiskName}
	if f.opts.HostDiskName {
		d.Name = ""
	}
	return append(disks, d)
}

// nodesBelow lists the block devices in the container's /dev, and in the directories in it (/dev/mapper).
func nodesBelow(dev sys.File) []view.Disk {
	s := nodeSearch{names: maxDeviceNames}
	for _, name := range s.look(dev, "") {
		if sub, err := dev.OpenDirInRoot(name); err == nil {
			s.look(sub, name+"/")
			sub.Close()
		}
	}
	return s.disks
}

// nodeSearch is a search for device nodes in directories that a container fills.
type nodeSearch struct {
	// names is how many more names are read.
	names int
	disks []view.Disk
}

// look adds the block devices in dir, and returns the directories there. Of several nodes of one device the first by name
// counts, and of one directory before those in the next.
func (s *nodeSearch) look(dir sys.File, prefix string) (below []string) {
	names, err := dir.ListSome(s.names)
	if err != nil {
		return nil
	}
	s.names -= len(names)
	slices.Sort(names)
	for _, name := range names {
		info, err := dir.StatAt(name)
		switch {
		case err != nil || !isPlainName(name):
		case info.IsBlockDevice():
			dev := procfs.Device{Major: info.Device.Major, Minor: info.Device.Minor}
			if !slices.ContainsFunc(s.disks, func(d view.Disk) bool { return d.Device == dev }) {
				s.disks = append(s.disks, view.Disk{Device: dev, Name: prefix + name})
			}
		case info.IsDir():
			below = append(below, name)
		}
	}
	return below
}

// isPlainName tells whether a name, which the container chose, can stand in a line of words.
func isPlainName(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// rootDisk finds the disk that holds the container's root directory.
func (f *FS) rootDisk(c *knownContainer, root sys.File) (procfs.Device, bool) {
	info, err := root.StatAt("")
	if err != nil {
		return procfs.Device{}, false
	}
	if disk, ok := f.mounts.diskOf(info.FileSystem); ok {
		return disk, true
	}
	// stat(2) returns a device number for each btrfs subvolume; the mount table has that of the file
	// system.
	text, err := c.InitDir().ReadSomeAt("mountinfo", maxMountTable)
	if err != nil {
		return procfs.Device{}, false
	}
	if len(text) == maxMountTable {
		text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may be half
	}
	fs, err := rootFileSystem(text)
	if err != nil {
		return procfs.Device{}, false
	}
	return f.mounts.diskOf(fs)
}

// rootFileSystem returns the device number of the file system that is mounted on / in a mount
// table. It uses no other field: only the kernel chooses the number, and the container chooses the
// rest.
func rootFileSystem(table []byte) (sys.DeviceNumber, error) {
	atRoot := func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != "/", false }
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), atRoot)
	if err != nil || len(mounts) == 0 {
		err = errors.Join(err, errNoRoot)
		return sys.DeviceNumber{}, fmt.Errorf("find the root in a mount table: %w", err)
	}
	m := mounts[len(mounts)-1]
	return sys.DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)}, nil
}

var errNoRoot = errors.New("nothing is mounted on /")
