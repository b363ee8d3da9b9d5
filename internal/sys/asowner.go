package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// AsOwner runs do on a thread that uses the file system as the user uid and the group gid
// (setfsuid(2)), and ends with it. In the tmpfs of a user namespace only ids that are mapped there
// can make files.
func AsOwner(uid, gid uint32, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		// They report nothing: where they fail, so do the calls that do makes.
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
