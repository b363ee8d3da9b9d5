package sys

import (
	"context"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs do on a thread that no other goroutine uses, and that ends with do. It is not the
// main thread, which the runtime would not end: procfs shows its ids and namespaces for the process.
func onOwnThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := onOwnThread(do) // on another thread, while this one is locked
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- do() // never unlocked: the runtime ends the thread with the goroutine
	}()
	return <-done
}

// unshareFS gives the calling thread a root and working directory of its own.
func unshareFS() error {
	return os.NewSyscallError("unshare CLONE_FS", unix.Unshare(unix.CLONE_FS))
}

// AsOwner runs do on a thread whose file system ids are uid and gid (setfsuid(2)), and which is in
// no other group. In the tmpfs of a user namespace, only ids that are mapped there can create
// files.
func AsOwner(uid, gid uint32, do func() error) error {
	return onOwnThread(func() error {
		// If these fail, the calls in do fail, or succeed by this process's groups.
		unix.Setgroups(nil) // of the thread
		unix.Setfsgid(int(gid))
		unix.Setfsuid(int(uid))
		return do()
	})
}

// HoldInThread passes the file to a thread that has descriptors of its own. The file is closed as
// soon as the process is killed. Descriptors of other threads stay open while one of them is in an
// uninterruptible wait.
func HoldInThread(f File) error {
	held := make(chan error)
	go onOwnThread(func() error {
		held <- os.NewSyscallError("unshare CLONE_FILES", unix.Unshare(unix.CLONE_FILES))
		select {}
	})
	err := <-held
	f.Close()
	return err
}

// Thread is a thread with a working directory of its own.
type Thread struct{}

// OnOwnThread runs do on a thread with a working directory of its own, which ends with do.
func OnOwnThread(do func(*Thread) error) error {
	return onOwnThread(func() error {
		if err := unshareFS(); err != nil {
			return err
		}
		return do(new(Thread))
	})
}

// Enter makes dir the thread's working directory.
func (*Thread) Enter(dir File) error { return os.NewSyscallError("fchdir", unix.Fchdir(dir.Fd())) }

// Within runs do, and returns its result, or context.Cause(ctx) if ctx ends first. do then
// continues in the background, on a thread of its own if a file system that does not answer blocks
// it; if it succeeds, its result is passed to discard, unless that is nil.
func Within[T any](ctx context.Context, do func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	if discard != nil {
		go func() {
			if o := <-done; o.err == nil {
				discard(o.value)
			}
		}()
	}
	var none T
	return none, context.Cause(ctx)
}
