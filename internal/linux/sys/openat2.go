package sys

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenDirInRoot opens the directory path with the directory f as the root: symbolic links are
// resolved, but never lead out of f, and magic links of procfs are refused. Before Linux 5.6, which
// added openat2(2), it is like OpenDirBelow.
func (f File) OpenDirInRoot(path string) (File, error) {
	return f.openDir(path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenDirBelow opens the directory path below the directory f. It fails with ELOOP or ENOTDIR if
// any part of path is a symbolic link.
func (f File) OpenDirBelow(path string) (File, error) {
	return f.openDir(path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

// OpenPathBelow opens the file at path below the directory f with O_PATH (Linux 5.6). It fails with
// ELOOP if any part of path is a symbolic link.
func (f File) OpenPathBelow(path string) (File, error) {
	opened, err := f.openat2(path, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	return opened, pathError("openat2", path, err)
}

func (f File) openDir(path string, resolve uint64) (File, error) {
	opened, err := f.openat2(path, unix.O_PATH|unix.O_DIRECTORY, resolve)
	if err == unix.ENOSYS {
		return f.openDirStepwise(path)
	}
	return opened, pathError("openat2", path, err)
}

func (f File) openat2(path string, flags, resolve uint64) (File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(f.Fd(), path, &how)
		switch err {
		case nil:
			return File{fd + 1}, nil
		case unix.EINTR, unix.EAGAIN: // a rename raced with a ".." in path
		default:
			return File{}, err
		}
	}
}

// openDirStepwise opens the directory path below f one name at a time, and refuses symbolic links
// and "..".
func (f File) openDirStepwise(path string) (File, error) {
	dir, err := f.OpenDirAt(".")
	if err != nil {
		return File{}, err
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			err = &os.PathError{Op: "open", Path: path, Err: unix.EINVAL}
		}
		var next File
		if err == nil {
			next, err = openat(dir.Fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		}
		dir.Close()
		if err != nil {
			return File{}, err
		}
		dir = next
	}
	return dir, nil
}

// ProbeOpenat2 returns the error of openat2(2): the kernel is older than Linux 5.6, or a seccomp
// filter blocks the call.
func ProbeOpenat2() error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &how)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	return unix.Close(fd)
}
