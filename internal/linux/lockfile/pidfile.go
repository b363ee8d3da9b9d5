package lockfile

import (
	"os"
	"sync"
	"syscall"
)

// PIDFile is a locked file with the pid of this process.
type PIDFile struct {
	// inotify reports that the file was removed or renamed (inotify(7)); events reads from it. If
	// root has no instance left (fs.inotify.max_user_instances), events is nil.
	inotify int
	events  *os.File

	mu   sync.Mutex
	file *os.File // nil after Remove
}

// inotifyInit1 creates an inotify instance. Tests replace it.
var inotifyInit1 = syscall.InotifyInit1

// OwnPIDFile is Own for a file that stays at its path until Remove: the C version of lxcfs removes
// the pid file of its command line even if it ends because another process has it locked.
func OwnPIDFile(path string) (*PIDFile, error) {
	file, err := Own(path)
	if err != nil {
		return nil, err
	}
	p := &PIDFile{file: file}
	if p.inotify, err = inotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK); err != nil {
		return p, nil // without inotify a removed file is not restored
	}
	p.events = os.NewFile(uintptr(p.inotify), "inotify")
	p.restore()
	go p.watch()
	return p, nil
}

// watch restores the file each time that it is removed.
func (p *PIDFile) watch() {
	for buf := make([]byte, 4096); ; {
		if _, err := p.events.Read(buf); err != nil {
			return
		}
		p.restore()
	}
}

// restore creates the file again if it was removed, and watches it. If another process has created
// and locked a file meanwhile, restore does nothing.
func (p *PIDFile) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		return
	}
	path := p.file.Name()
	for range maxTries {
		if !isAt(p.file, path) {
			file, err := Own(path)
			if err != nil {
				return
			}
			p.file.Close()
			p.file = file
		}
		// unlink(2) and rename(2) of the file, or over it, change its link count or its time.
		const removed = syscall.IN_ATTRIB | syscall.IN_MOVE_SELF
		if _, err := syscall.InotifyAddWatch(p.inotify, path, removed); err != nil {
			return
		}
		if isAt(p.file, path) {
			return
		}
	}
}

// Remove removes the file and then unlocks it, so that the next owner creates a new one. Another
// file at the path stays.
func (p *PIDFile) Remove() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events.Close() // ErrInvalid without events
	if isAt(p.file, p.file.Name()) {
		os.Remove(p.file.Name()) // a file that cannot be removed stays, unlocked
	}
	p.file.Close()
	p.file = nil
}
