package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// AsOwner runs do on a thread of its own whose file system ids are uid and gid (setfsuid(2)). In
// the tmpfs of a user namespace only ids that are mapped there can create files.
func AsOwner(uid, gid uint32, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		// These report no error. If they fail, the calls in do fail.
		unix.Setfsgid(int(gid))
		unix.Setfsuid(int(uid))
		done <- do()
	}()
	return <-done
}

// Mkdir makes the directory name, with the mode 0755, in the directory f.
func (f File) Mkdir(name string) error {
	if err := unix.Mkdirat(f.Fd(), name, 0o755); err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

// Rmdir removes the empty directory name from the directory f.
func (f File) Rmdir(name string) error {
	if err := unix.Unlinkat(f.Fd(), name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}
