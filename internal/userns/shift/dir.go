package shift

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"palisade/internal/sys"
)

// dir is a directory whose files are being visited.
type dir struct {
	walk   *walk
	parent *dir
	name   sys.Name
	// users are the tasks that need the directory; the last one closes it.
	users atomic.Int32
	// memo is what the first pass notes of its files; known is that in the next pass.
	memo, known *memo
	// key is set when it is entered.
	key inodeKey

	// mu is for file, which is open while there are pins; it may be closed at other times, and is then opened again.
	mu   sync.Mutex
	file sys.File
	pins int
}

// path is the path of a file in the directory, below the root.
func (d *dir) path(name string) string {
	parts := []string{name}
	for ; d.parent != nil; d = d.parent {
		parts = append(parts, d.name.String())
	}
	slices.Reverse(parts)
	var b []byte
	for i, part := range parts {
		if i > 0 {
			b = append(b, '/')
		}
		b = append(b, part...)
	}
	return string(b)
}

// done is called once for each user.
func (d *dir) done() {
	if d.users.Add(-1) == 0 {
		d.mu.Lock()
		d.closeUnused()
		d.mu.Unlock()
	}
}

// closeUnused closes the directory, if nobody needs it now, and nobody will or too many are open. mu is held.
func (d *dir) closeUnused() {
	isMuch := d.parent != nil && d.walk.open.Load() > d.walk.maxOpen
	if d.pins == 0 && (isMuch || d.users.Load() == 0) {
		d.close()
	}
}

// close closes the directory, if it is open. mu is held.
func (d *dir) close() {
	if d.file.IsOpen() {
		d.file.Close()
		d.walk.open.Add(-1)
	}
}

// reserved are descriptors that are not for directories: those of each worker, and all others.
const (
	reservedPerWorker = 8
	reserved          = 24
)

// maxOpen is how many directories may be open: a tree that is deep and has branches on its way needs one for each level,
// more than a process may have.
func maxOpen(jobs int) int64 {
	return int64(max(sys.MaxOpenFiles()-reserved-reservedPerWorker*jobs, jobs+1))
}

// pin makes sure that the directory is open until unpin.
func (d *dir) pin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.file.IsOpen() {
		if err := d.reopen(); err != nil {
			return err
		}
	}
	d.pins++
	return nil
}

// use makes the directory one more task's, which it is open for.
func (d *dir) use() {
	d.users.Add(1)
	d.mu.Lock()
	d.pins++
	d.mu.Unlock()
}

// unpin ends what use or pin has begun.
func (d *dir) unpin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pins--
	d.closeUnused()
}

// closeAncestor closes, of the directories on the way to d, and d itself, the one next to the root that is not needed just
// now. The root directory stays open.
func (d *dir) closeAncestor() {
	var first *dir
	for ; d.parent != nil; d = d.parent {
		d.mu.Lock()
		if d.file.IsOpen() && d.pins == 0 {
			first = d
		}
		d.mu.Unlock()
	}
	if first == nil {
		return
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	if first.pins == 0 {
		first.close()
	}
}

// errMountedOn is the error for a directory that is a mount point.
var errMountedOn = errors.New("something is mounted on it")

// errMoved is the error for a directory that is not found again where it was.
var errMoved = errors.New("it was moved meanwhile")

// reopen opens a directory that was closed, by its names from the next directory that is open. mu is held.
func (d *dir) reopen() error {
	way, at := []*dir{d}, d.parent
	for ; !at.tryPin(); at = at.parent {
		way = append(way, at)
	}
	defer at.unpin()
	var file sys.File
	from := at.file
	for _, next := range slices.Backward(way) {
		opened, err := from.OpenListing(next.name)
		file.Close()
		if err != nil {
			return err
		}
		file, from = opened, opened
		i, err := file.Look()
		if err == nil && keyOf(&i) != next.key {
			err = errMoved
		}
		if err != nil {
			file.Close()
			return err
		}
	}
	d.file = file
	d.walk.open.Add(1)
	return nil
}

// tryPin pins the directory, if it is open.
func (d *dir) tryPin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file.IsOpen() {
		d.pins++
	}
	return d.file.IsOpen()
}
