//go:build integration

package userns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dump holds a line for each file of a tree, by its path, with all properties that a file system
// keeps.
type dump map[string]string

// takeDump dumps a tree, without ctimes unless withTimes is set.
func takeDump(t testing.TB, root string, withTimes bool) dump {
	t.Helper()
	d := make(dump)
	first := make(map[[2]uint64]string) // the first name of a file with several
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		d[name], err = describe(path, name, first, withTimes)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func describe(path, name string, first map[[2]uint64]string, withTimes bool) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mode %06o owner %d:%d links %d rdev %x size %d mtime %d.%09d", st.Mode, st.Uid,
		st.Gid, st.Nlink, st.Rdev, st.Size,
		st.Mtim.Sec, st.Mtim.Nsec)
	if withTimes {
		fmt.Fprintf(&b, " ctime %d.%09d", st.Ctim.Sec, st.Ctim.Nsec)
	}
	kind := st.Mode & unix.S_IFMT
	if st.Nlink > 1 && kind != unix.S_IFDIR {
		key := [2]uint64{st.Dev, st.Ino}
		if first[key] == "" {
			first[key] = name
		}
		fmt.Fprintf(&b, " first %q", first[key])
	}
	if kind == unix.S_IFLNK {
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " to %q", target)
	}
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		if flags, err := getFlags(path); err == nil { // not all file systems have them
			fmt.Fprintf(&b, " flags %x", flags)
		}
	}
	attrs, err := describeAttrs(path)
	return b.String() + attrs, err
}

// describeAttrs returns all extended attributes with their values.
func describeAttrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	} else if err != nil {
		return "", &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	var texts []string
	for name := range bytes.SplitSeq(buf[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		value, err := getAttr(path, string(name))
		if err != nil {
			return "", err
		}
		if string(name) == stateName {
			value = withoutSeal(value)
		}
		texts = append(texts, fmt.Sprintf(" %s=%x", name, value))
	}
	slices.Sort(texts)
	return strings.Join(texts, ""), nil
}

// withoutSeal returns a recorded state without its seal, which differs between directories.
func withoutSeal(value []byte) []byte {
	var state json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(value)).Decode(&state); err != nil {
		return value
	}
	return state
}

func getAttr(path, name string) ([]byte, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return nil, &os.PathError{Op: "lgetxattr " + name, Path: path, Err: err}
	}
	return buf[:n], nil
}

func checkDump(t *testing.T, what string, got, want dump) {
	t.Helper()
	if text := diff(got, want); text != "" {
		t.Fatalf("%s:\n%s", what, text)
	}
}

// diff returns the differences, or "".
func diff(got, want dump) string {
	var b strings.Builder
	names := make(map[string]bool)
	for _, d := range []dump{got, want} {
		for name := range d {
			names[name] = true
		}
	}
	for name := range names {
		if got[name] != want[name] {
			fmt.Fprintf(&b, "%q\n   got %s\n  want %s\n", name, got[name], want[name])
		}
	}
	return b.String()
}

// getFlags returns the flags of a file or directory (ioctl_iflags(2)).
func getFlags(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
}

// Flags in linux/fs.h.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// setFlags sets these flags, and clears other flags for protection.
func setFlags(path string, flags uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS,
		int(old&^(immutable|appendOnly)|flags))
}
