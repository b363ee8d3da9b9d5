package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Own writes the pid of this process to the file at path and locks it until the returned file is
// closed. It fails if another process has it locked.
//
// Only the owner can open the file: any process that can open it, even for reading, can lock it
// (flock(2)). Own replaces a file that others can open, as older versions created it, unless
// another process of this program holds it.
func Own(path string) (*os.File, error) {
	if err := replaceOpenToOthers(path); err != nil {
		return nil, err
	}
	f, err := lockWithin(context.Background(), path, exitTime)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("process %s holds %s already", pidIn(path), path)
	}
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// exitTime is the time for which Own waits for an owner that may be exiting: the kernel takes some
// time to close the inotify instance of a PIDFile, and may unlock the file only after that. Tests
// shorten it.
var exitTime = time.Second

// replaceOpenToOthers replaces the file if users other than its owner can open it: they may have
// locked it.
func replaceOpenToOthers(path string) error {
	if !isOpenToOthers(path) || isOwnProgram(pidIn(path)) {
		return nil
	}
	f, err := lock(path + ".new") // one process at a time replaces the file
	if err != nil {
		return err
	}
	defer f.Close()
	if !isOpenToOthers(path) {
		return os.Remove(f.Name())
	}
	return os.Rename(f.Name(), path)
}

func isOpenToOthers(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

// pidIn returns the pid in the file of another process, or "" if it cannot be read.
func pidIn(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// isOwnProgram reports whether another process of this user runs any version of this program.
func isOwnProgram(pid string) bool {
	if n, err := strconv.ParseUint(pid, 10, 31); err != nil || n == uint64(os.Getpid()) {
		return false
	}
	dir := filepath.Join("/proc", pid)
	info, err := os.Stat(dir)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return false
	}
	program, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return false
	}
	own, err := os.Executable()
	return err == nil && filepath.Base(strings.TrimSuffix(program, " (deleted)")) == filepath.Base(own)
}
