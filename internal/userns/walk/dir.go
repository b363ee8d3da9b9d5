package walk

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// InodeKey identifies a file whatever its names are.
type InodeKey struct {
	FileSystem sys.DeviceNumber
	Number     uint64
}

// KeyOf returns the key of an inode.
func KeyOf(i *sys.Inode) InodeKey { return InodeKey{i.FileSystem, i.Number} }

// Dir is a directory whose files are visited.
type Dir struct {
	// Parent is nil for the root directory, which has no Name.
	Parent *Dir
	Name   sys.Name
	// File is open during calls of Visitor.
	File sys.File
	// Key is set by Visitor.Enter.
	Key InodeKey

	dirs *openDirs
	// mu guards File and the counters. users counts the tasks that need the directory; the last one
	// closes it. While pins is 0, File may be closed, and is then opened again.
	mu          sync.Mutex
	users, pins int
}

// openDirs counts and limits open directories.
type openDirs struct {
	open    atomic.Int64
	maxOpen int64
}

// Path returns the path of a file in the directory, below the root directory.
func (d *Dir) Path(name string) string {
	parts := []string{name}
	for ; d.Parent != nil; d = d.Parent {
		parts = append(parts, d.Name.String())
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// use changes the numbers of users and pins. It closes the directory if it has no pins, and no users
// or too many directories are open.
func (d *Dir) use(users, pins int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users += users
	d.pins += pins
	tooMany := d.Parent != nil && d.dirs.open.Load() > d.dirs.maxOpen
	if d.pins == 0 && (tooMany || d.users == 0) && d.File.IsOpen() {
		d.File.Close()
		d.dirs.open.Add(-1)
	}
}

// File descriptors that are not available for directories.
const (
	reservedPerWorker = 8
	reserved          = 24
)

// maxOpen returns how many directories may be open at once. A deep tree with branches at each level
// needs one for each level, more than a process may have.
func maxOpen(jobs int) int64 {
	return int64(max(sys.MaxOpenFiles()-reserved-reservedPerWorker*jobs, jobs+1))
}

// pin keeps the directory open until a call of use.
func (d *Dir) pin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.File.IsOpen() {
		if err := d.reopen(); err != nil {
			return err
		}
	}
	d.pins++
	return nil
}

var (
	errMountPoint = errors.New("directory is a mount point")
	errMoved      = errors.New("directory was moved meanwhile")
)

// reopen opens a closed directory again, by names from the root directory, which is always open.
// The caller holds mu.
func (d *Dir) reopen() error {
	var closed []*Dir
	at := d
	for ; at.Parent != nil; at = at.Parent {
		closed = append(closed, at)
	}
	var file sys.File
	from := at.File
	for _, next := range slices.Backward(closed) {
		opened, err := from.OpenListing(next.Name)
		file.Close()
		if err != nil {
			return err
		}
		file, from = opened, opened
	}
	i, err := file.Statx()
	if err == nil && KeyOf(&i) != d.Key {
		err = errMoved
	}
	if err != nil {
		file.Close()
		return err
	}
	d.File = file
	d.dirs.open.Add(1)
	return nil
}
