// Package socket creates unix sockets for programs of root. A socket never has a wider mode than
// asked for, and replaces only one to which no process listens.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Listen creates a socket at path, owned by root and with the mode, and its directory. It replaces
// a socket to which no process listens, and fails with EADDRINUSE if one does.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
	return ListenAs(path, mode, -1, -1)
}

// ListenAs is like Listen, but changes the owner and the group to those that are not -1.
func ListenAs(path string, mode fs.FileMode, uid, gid int) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l, err := bind(path, mode)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = bind(path, mode)
	}
	if err != nil {
		return nil, err
	}
	if err := protect(path, mode, uid, gid); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// protect sets the owner of a socket, by default root: a setgid directory gives files its own
// group.
func protect(path string, mode fs.FileMode, uid, gid int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		uid, gid = max(uid, 0), max(gid, 0)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && (uid >= 0 && owner.Uid != uint32(uid) || gid >= 0 && owner.Gid != uint32(gid)) {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	if info.Mode().Type() == os.ModeSocket && info.Mode().Perm() == mode {
		return nil // chmod follows links, and another user may own the directory
	}
	return os.Chmod(path, mode)
}

// bind creates the socket with its mode, so that no other user can connect before the mode is set:
// the kernel gives the file the mode of the socket, less the umask (unix_bind_bsd() of
// net/unix/af_unix.c).
func bind(path string, mode fs.FileMode) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = syscall.Fchmod(int(fd), uint32(mode)) })
		return errors.Join(err, os.NewSyscallError("fchmod", modeErr))
	}}
	return config.Listen(context.Background(), "unix", path)
}

// removeStale removes a socket to which no process listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is not a socket: remove it if it is not needed", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		err = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.Join(fmt.Errorf("another process listens to %s: %w", path, syscall.EADDRINUSE), err)
	}
	return os.Remove(path)
}
