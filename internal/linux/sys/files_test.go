package sys

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// openDir opens a new directory with the files.
func openDir(t *testing.T, files map[string]string) (File, string) {
	t.Helper()
	path := t.TempDir()
	for name, text := range files {
		writeFile(t, path, name, text)
	}
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir, path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// TestRead reads a file whole, in parts, and until a deadline.
func TestRead(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789"), 1000))
	dir, path := openDir(t, map[string]string{"long": long, "empty": ""})
	f, err := Open(filepath.Join(path, "long"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, read := range map[string]func() ([]byte, error){
		"ReadText": func() ([]byte, error) { return f.ReadText(nil) },
		"ReadFile": func() ([]byte, error) { return ReadFile(filepath.Join(path, "long"), nil) },
		"ReadFileAt, into a buffer": func() ([]byte, error) {
			return dir.ReadFileAt("long", make([]byte, 7))
		},
		"ReadSomeAt, all": func() ([]byte, error) { return dir.ReadSomeAt("long", math.MaxInt, nil) },
		"ReadSomeUntil": func() ([]byte, error) {
			return dir.ReadSomeUntil("long", math.MaxInt, time.Now().Add(time.Hour))
		},
	} {
		if text, err := read(); err != nil || string(text) != long {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	if text, err := dir.ReadSomeAt("long", 5, nil); err != nil || string(text) != "01234" {
		t.Errorf("a part: %q, %v", text, err)
	}
	if text, err := dir.ReadFileAt("empty", nil); err != nil || len(text) != 0 {
		t.Errorf("empty: %q, %v", text, err)
	}
	_, err = dir.ReadSomeUntil("long", 5, time.Now().Add(-time.Hour))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("late: %v", err)
	}
	if _, err := dir.ReadFileAt("missing", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// TestOpenFiles opens files in all ways.
func TestOpenFiles(t *testing.T) {
	dir, path := openDir(t, map[string]string{"f": "x"})
	check(t, dir.Mkdir("d"))
	check(t, os.Symlink("d", filepath.Join(path, "link")))
	for name, open := range map[string]func() (File, error){
		"OpenAt":          func() (File, error) { return dir.OpenAt("f") },
		"OpenReadWriteAt": func() (File, error) { return dir.OpenReadWriteAt("f") },
		"OpenDirAt":       func() (File, error) { return dir.OpenDirAt("link") },
		"OpenPathAt":      func() (File, error) { return dir.OpenPathAt("link") },
		"OpenPath":        func() (File, error) { return OpenPath(path + "/f") },
		"OpenListing":     func() (File, error) { return dir.OpenListing(NewName("d")) },
		"OpenDirInRoot":   func() (File, error) { return dir.OpenDirInRoot("/../link") },
		"OpenDirBelow":    func() (File, error) { return dir.OpenDirBelow("./d") },
		"Path":            func() (File, error) { return OpenDir(dir.Path()) },
		"stepwise":        func() (File, error) { return dir.openDirStepwise("/./d") },
	} {
		f, err := open()
		if err != nil || !f.IsOpen() {
			t.Errorf("%s: %v", name, err)
		}
		check(t, f.Close())
		if f.Close() != nil || f.IsOpen() || f.Fd() != -1 {
			t.Errorf("%s: closed twice", name)
		}
	}
	for name, open := range map[string]func() (File, error){
		"OpenDirNoFollow": func() (File, error) { return OpenDirNoFollow(path + "/link") },
		"OpenDirBelow":    func() (File, error) { return dir.OpenDirBelow("link") },
		"OpenListing":     func() (File, error) { return dir.OpenListing(NewName("link")) },
		"stepwise":        func() (File, error) { return dir.openDirStepwise("link") },
		"above":           func() (File, error) { return dir.openDirStepwise("d/..") },
		"missing":         func() (File, error) { return dir.OpenPathAt("missing") },
	} {
		if f, err := open(); err == nil {
			t.Errorf("%s: opened %d", name, f.Fd())
		}
	}
	check(t, dir.Rmdir("d"))
	check(t, ProbeOpenat2())
}

func TestListing(t *testing.T) {
	dir, path := openDir(t, map[string]string{"a": "", "b": ""})
	check(t, dir.Mkdir("d"))
	names, err := dir.List()
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"a", "b", "d"}) {
		t.Errorf("got %q, %v", names, err)
	}
	if names, err := dir.ListSome(2); err != nil || len(names) != 2 {
		t.Errorf("two: %q, %v", names, err)
	}
	if names, err := dir.ListSome(0); err != nil || len(names) != 0 {
		t.Errorf("none: %q, %v", names, err)
	}
	if entries, err := dir.ReadDir(); err != nil || len(entries) != 3 || !entries[2].IsDir() {
		t.Errorf("entries: %v, %v", entries, err)
	}
	listing, err := dir.ReopenDir()
	if err != nil {
		t.Fatal(err)
	}
	defer listing.Close()
	entries, err := listing.ReadEntries(make([]byte, 4096))
	dirs := 0
	for e, ok := entries.Next(); ok; e, ok = entries.Next() {
		if e.IsDir {
			dirs++
		}
	}
	if err != nil || dirs != 1 {
		t.Errorf("%d directories, %v", dirs, err)
	}
	check(t, listing.SyncFS())
	check(t, os.Mkdir(filepath.Join(path, "7"), 0o700))
	if numbers, err := ListNumbers(path); err != nil || !slices.Equal(numbers, []int{7}) {
		t.Errorf("numbers %d, %v", numbers, err)
	}
}

// TestStatFiles compares the two ways to get the attributes of a file.
func TestStatFiles(t *testing.T) {
	dir, path := openDir(t, map[string]string{"f": "xyz"})
	check(t, os.Symlink("f", filepath.Join(path, "link")))
	info, err := Stat(path + "/link")
	at, err2 := dir.StatAt("f")
	if err := errors.Join(err, err2); err != nil || info != at || info.Size != 3 || !info.IsRegular() {
		t.Errorf("got %+v and %+v, %v", info, at, err)
	}
	if info, err := dir.StatAt("link"); err != nil || !info.IsSymlink() || info.IsBlockDevice() {
		t.Errorf("link: %+v, %v", info, err)
	}
	f, err := dir.OpenPathAt("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := f.Statx()
	if err != nil || got != info || got.IsDir() || got.HasSetID() {
		t.Errorf("got %+v and %+v, %v", got, info, err)
	}
	if since := got.Changed.Until(Now()); since < 0 || since > int64(time.Hour) {
		t.Errorf("changed %d ns ago", since)
	}
	cachedInode, err := StatxCached(f.selfPath())
	if err != nil || cachedInode.Number != info.Number {
		t.Errorf("cached: %+v, %v", cachedInode, err)
	}
	inode, err := f.Inode()
	size, err2 := f.Size()
	if err := errors.Join(err, err2); err != nil || inode != info.Number || size != 3 {
		t.Errorf("inode %d, size %d, %v", inode, size, err)
	}
	own, err := f.MountID()
	if err != nil || cachedInode.MountID != 0 && own != cachedInode.MountID {
		t.Errorf("mount %d and %d, %v", own, cachedInode.MountID, err)
	}
	if err := dir.StatxAt(NewName("missing"), &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := f.FSType(); err != nil {
		t.Error(err)
	}
	if _, err := f.FSID(); err != nil {
		t.Error(err)
	}
	if _, err := dir.Handle(NewName("f")); err != nil {
		t.Error(err)
	}
	if _, err := dir.XFSUUID(); err != nil && !errors.Is(err, syscall.ENOTTY) {
		t.Error(err)
	}
	target, err := dir.ReadlinkAt([]byte("link\x00"), make([]byte, 10))
	if err != nil || string(target) != "f" {
		t.Errorf("link to %q, %v", target, err)
	}
	if _, err := dir.ReadlinkAt([]byte("link"), make([]byte, 10)); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a path without NUL: %v", err)
	}
}

// TestChange changes the attributes of a file.
func TestChange(t *testing.T) {
	dir, path := openDir(t, map[string]string{"f": ""})
	f, err := dir.OpenPathAt("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check(t, f.Chmod(0o4755))
	if i, err := f.Statx(); err != nil || i.Mode&ChmodMask != 0o4755 || !i.HasSetID() {
		t.Errorf("got %+v, %v", i, err)
	}
	check(t, f.Chown(uint32(os.Geteuid()), uint32(os.Getegid())))
	if dir.IsReadOnly() {
		t.Error("read-only")
	}
	if flags, err := f.Flags(); err == nil {
		check(t, f.SetFlags(WithoutProtection(flags|0x10)))
	}
	if _, err := dir.Flags(); err != nil && !errors.Is(err, syscall.ENOTTY) &&
		!errors.Is(err, syscall.EOPNOTSUPP) {
		t.Error(err)
	}
	fifo, err := Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if _, err := fifo.Flags(); !errors.Is(err, errNoContent) {
		t.Errorf("a device: %v", err)
	}
	for range 2 {
		check(t, f.RemoveAttr("user.test"))
	}
	f.HasTrustedAttrs()
	if err := f.SetAttr("user.test", []byte("x")); err != nil {
		t.Skipf("no extended attributes on %s: %v", path, err)
	}
	value, err := f.Attr("user.test")
	names, err2 := f.AttrNames()
	if err := errors.Join(err, err2); err != nil || string(value) != "x" ||
		!slices.Contains(names, "user.test") {
		t.Errorf("got %q, names %q, %v", value, names, err)
	}
	check(t, OnOwnThread(func(thread *Thread) error {
		check(t, thread.Enter(dir))
		list, complete, err := thread.AttrList(NewName("f"), make([]byte, 1000))
		if err != nil || !complete || !bytes.Contains(list, []byte("user.test\x00")) {
			t.Errorf("list %q, %v, %v", list, complete, err)
		}
		if _, complete, err := thread.AttrList(NewName("f"), make([]byte, 1)); err != nil || complete {
			t.Errorf("a small buffer: %v, %v", complete, err)
		}
		return nil
	}))
}

// TestReplaceFile replaces and creates files.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "f", "old")
	check(t, os.Chmod(file, 0o640))
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(want string, mode fs.FileMode) {
		t.Helper()
		text, err := ReadRegular(file, 100)
		now, err2 := os.Stat(file)
		if err := errors.Join(err, err2); err != nil || string(text) != want || now.Mode() != mode {
			t.Errorf("got %q, %v, %v", text, now, err)
		}
	}
	check(t, ReplaceFile(file, []byte("like"), info))
	verify("like", 0o640)
	check(t, ReplaceFile(file, []byte("new"), nil))
	verify("new", 0o600)
	check(t, ReplaceFileSynced(file, []byte("synced")))
	verify("synced", 0o600)
	if err := CreateFileSynced(file, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}
	check(t, os.Remove(file))
	check(t, CreateFileSynced(file, []byte("created")))
	verify("created", 0o600)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("temporary files are left: %v, %v", entries, err)
	}
	if err := ReplaceFile(filepath.Join(dir, "missing/f"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := ReadRegular(file, 3); err == nil {
		t.Error("read a file that is too large")
	}
	if _, err := ReadRegular(makeFIFO(t, dir), 3); err == nil {
		t.Error("read a FIFO")
	}
	f, err := OpenAppend(file, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("+"); err != nil {
		t.Error(err)
	}
	verify("created+", 0o600)
}
