package sys

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenDirInRoot opens the directory path as it stands inside the tree whose root directory is f: symbolic links are
// followed, but never out of that tree, and the magic links of procfs not at all. Linux before 5.6 has no openat2: there
// no link is followed, see OpenDirBelow.
func (f File) OpenDirInRoot(path string) (File, error) {
	dir, err := f.openat2(path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, unix.ENOSYS) {
		return f.openStepwise(path)
	}
	return dir, err
}

// OpenDirBelow opens the directory path below the directory f. It fails with ELOOP or ENOTDIR where a part of path is a
// symbolic link.
func (f File) OpenDirBelow(path string) (File, error) {
	dir, err := f.openat2(path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ENOSYS) {
		return f.openStepwise(path)
	}
	return dir, err
}

func (f File) openat2(path string, resolve uint64) (File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(f.Fd(), path, &how)
		switch {
		case err == nil:
			return File{fd + 1}, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // EAGAIN: a rename raced with a ".." in path
		default:
			return File{}, &os.PathError{Op: "openat2", Path: path, Err: err}
		}
	}
}

// openStepwise opens the directory path below f one name after the other, of which none may be a link or "..".
func (f File) openStepwise(path string) (File, error) {
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

// FileInfo is what is asked of a file here.
type FileInfo struct {
	// Mode has the type and the permissions, as st_mode.
	Mode uint32
	// Inode is its number on its file system.
	Inode uint64
	// Device is what a device node stands for, FileSystem the device that holds the file.
	Device, FileSystem DeviceNumber
	// Size is its length in bytes.
	Size int64
}

// DeviceNumber names a device.
type DeviceNumber struct{ Major, Minor uint32 }

// IsBlockDevice tells whether the file is the node of a block device.
func (i FileInfo) IsBlockDevice() bool { return i.Mode&unix.S_IFMT == unix.S_IFBLK }

// IsDir tells whether the file is a directory.
func (i FileInfo) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular tells whether the file is a regular file.
func (i FileInfo) IsRegular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink tells whether the file is a symbolic link.
func (i FileInfo) IsSymlink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

// StatAt looks at the file name below the directory f without following it if it is a symbolic link, and without
// triggering an automount; an empty name is f itself.
func (f File) StatAt(name string) (FileInfo, error) {
	return statAt(f.Fd(), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH)
}

// Stat looks at the file that path leads to.
func Stat(path string) (FileInfo, error) { return statAt(unix.AT_FDCWD, path, 0) }

func statAt(dirfd int, name string, flags int) (FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, flags); err != nil {
		return FileInfo{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return FileInfo{
		Mode: st.Mode, Inode: st.Ino, Size: st.Size,
		Device:     DeviceNumber{unix.Major(st.Rdev), unix.Minor(st.Rdev)},
		FileSystem: DeviceNumber{unix.Major(st.Dev), unix.Minor(st.Dev)},
	}, nil
}
