package sys

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LookCached returns the type and inode of the target of a link in procfs, from the kernel's cache:
// the file system, which may not respond, is not asked (AT_STATX_DONT_SYNC).
func LookCached(link string) (Inode, error) {
	var st unix.Statx_t
	const flags = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	err := unix.Statx(unix.AT_FDCWD, link, flags, unix.STATX_TYPE|unix.STATX_INO, &st)
	if errors.Is(err, unix.ENOSYS) { // before Linux 4.11
		i, err := Stat(link)
		return Inode{Mode: i.Mode, Number: i.Inode, FileSystem: i.FileSystem}, err
	}
	fs := DeviceNumber{st.Dev_major, st.Dev_minor}
	i := Inode{Mode: uint32(st.Mode), Number: st.Ino, FileSystem: fs}
	return i, os.NewSyscallError("statx", err)
}

// LinkMountID returns the id of the mount of the file to which a link in procfs leads (Linux 5.8).
func LinkMountID(link string) (int, error) {
	var st unix.Statx_t
	const flags = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if err := unix.Statx(unix.AT_FDCWD, link, flags, unix.STATX_MNT_ID, &st); err != nil {
		return 0, os.NewSyscallError("statx", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, errors.ErrUnsupported
	}
	return int(st.Mnt_id), nil
}

// ProcessLinks yields the links in procfs to the files that a process has: the program, and the
// working directory, root directory and open files of all threads. A process that ends has none.
func ProcessLinks(pid int) iter.Seq[string] {
	return func(yield func(string) bool) {
		process := "/proc/" + strconv.Itoa(pid)
		if !yield(process + "/exe") {
			return
		}
		tasks, _ := Numbers(process + "/task")
		for _, task := range tasks {
			dir := process + "/task/" + strconv.Itoa(task)
			if task == pid || !SharesDirectories(pid, task) {
				if !yield(dir+"/cwd") || !yield(dir+"/root") {
					return
				}
			}
			if task != pid && SharesFiles(pid, task) {
				continue
			}
			files, _ := Numbers(dir + "/fd")
			for _, file := range files {
				if !yield(dir + "/fd/" + strconv.Itoa(file)) {
					return
				}
			}
		}
	}
}

// Numbers lists the names in a directory that are numbers.
func Numbers(path string) (numbers []int, err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// IsHostRoot reports whether the process with the directory in procfs is root in this process's
// user namespace, with all that this means: a container's root lacks CAP_SYS_ADMIN, or is in
// another namespace.
func IsHostRoot(process string) bool {
	own, err := Stat("/proc/self/ns/user")
	if err != nil {
		return false
	}
	ns, err := Stat(process + "/ns/user")
	if err != nil || ns.Inode != own.Inode || ns.FileSystem != own.FileSystem {
		return false
	}
	text, err := ReadFile(process+"/status", nil)
	return err == nil && isRootStatus(text)
}

// isRootStatus reports whether all uids in /proc/<pid>/status are 0, and CAP_SYS_ADMIN is
// effective.
func isRootStatus(text []byte) bool {
	isRoot, isAble := false, false
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(string(line), ":")
		switch name {
		case "Uid":
			isRoot = strings.Join(strings.Fields(value), " ") == "0 0 0 0"
		case "CapEff":
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			isAble = err == nil && caps>>unix.CAP_SYS_ADMIN&1 != 0
		}
	}
	return isRoot && isAble
}

// Resource types of kcmp(2), from linux/kcmp.h.
const (
	kcmpFiles = 2
	kcmpFS    = 3
)

// SharesFiles reports whether two threads share their descriptor table. It is false if the kernel
// has no kcmp(2).
func SharesFiles(a, b int) bool { return sharesResource(a, b, kcmpFiles) }

// SharesDirectories is like SharesFiles for the root and working directories.
func SharesDirectories(a, b int) bool { return sharesResource(a, b, kcmpFS) }

func sharesResource(a, b, what int) bool {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(what), 0, 0, 0)
	return errno == 0 && order == 0
}
