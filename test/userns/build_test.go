//go:build integration

package userns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// item is a file of a test tree.
type item struct {
	path     string
	kind     uint32 // S_IFDIR etc.; 0 for a hard link to the path to
	mode     uint32
	uid, gid int
	to       string // of links
	rdev     uint64
	attrs    map[string][]byte
	flags    uint32
}

const (
	capsName   = "security.capability"
	accessName = "system.posix_acl_access"
	deflName   = "system.posix_acl_default"
	stateName  = "trusted.userns_shift"
	recordName = "trusted.userns_shift.record"
)

func directory(path string, mode uint32, uid, gid int) item {
	return item{path: path, kind: unix.S_IFDIR, mode: mode, uid: uid, gid: gid}
}

func file(path string, mode uint32, uid, gid int) item {
	return item{path: path, kind: unix.S_IFREG, mode: mode, uid: uid, gid: gid}
}

func symlink(path, to string, uid, gid int) item {
	return item{path: path, kind: unix.S_IFLNK, uid: uid, gid: gid, to: to}
}

func hardLink(path, to string) item { return item{path: path, to: to} }

func node(path string, kind, mode uint32, uid, gid int, rdev uint64) item {
	return item{path: path, kind: kind, mode: mode, uid: uid, gid: gid, rdev: rdev}
}

func (i item) with(name string, value []byte) item {
	attrs := map[string][]byte{name: value}
	for key, old := range i.attrs {
		attrs[key] = old
	}
	i.attrs = attrs
	return i
}

func (i item) flagged(flags uint32) item {
	i.flags = flags
	return i
}

// caps2 and caps3 return file capabilities (linux/capability.h): CAP_NET_RAW, effective, for caps3
// in the user namespace with this root.
func caps2() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	for _, word := range []uint32{1 << 13, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

func caps3(root uint32) []byte {
	b := caps2()
	binary.LittleEndian.PutUint32(b, 0x03000001)
	return binary.LittleEndian.AppendUint32(b, root)
}

// acl returns an access control list with entries for a user and a group (linux/posix_acl_xattr.h).
func acl(user, group uint32, owner, mask uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	const none = 0xffffffff
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, owner, none}, {0x02, 5, user}, {0x04, 5, none}, {0x08, 4, group}, {0x10, mask, none},
		{0x20, 1, none}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// build creates a tree at root. Without hasAttrs, the files have no extended attributes.
func build(t testing.TB, root string, hasAttrs bool, items []item) {
	t.Helper()
	for _, i := range items {
		if err := i.make(root); err != nil {
			t.Fatalf("make %q: %v", i.path, err)
		}
	}
	for _, i := range items {
		if i.kind != 0 && hasAttrs {
			for name, value := range i.attrs {
				err := unix.Lsetxattr(filepath.Join(root, i.path), name, value, 0)
				if errors.Is(err, unix.EOPNOTSUPP) && strings.HasPrefix(name, "user.") {
					continue // tmpfs, before Linux 6.6
				}
				if err != nil {
					t.Fatalf("set %s of %q: %v", name, i.path, err)
				}
			}
		}
	}
	for _, i := range slices.Backward(items) { // directories after their files
		if err := i.finish(root); err != nil {
			t.Fatalf("finish %q: %v", i.path, err)
		}
	}
}

func (i *item) make(root string) error {
	path := filepath.Join(root, i.path)
	var err error
	switch i.kind {
	case 0:
		return os.Link(filepath.Join(root, i.to), path)
	case unix.S_IFDIR:
		if err = unix.Mkdir(path, 0o700); i.path == "." && errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case unix.S_IFLNK:
		return errors.Join(os.Symlink(i.to, path), os.Lchown(path, i.uid, i.gid))
	case unix.S_IFREG:
		err = os.WriteFile(path, []byte(i.path), 0o600)
	default:
		err = unix.Mknod(path, i.kind|0o600, int(i.rdev))
	}
	if err == nil {
		err = os.Lchown(path, i.uid, i.gid)
	}
	if err == nil {
		err = unix.Chmod(path, i.mode)
	}
	return err
}

// finish sets what other changes would reset: times and flags.
func (i *item) finish(root string) error {
	path := filepath.Join(root, i.path)
	when := unix.Timespec{Sec: 1_600_000_000, Nsec: 123_456_789}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when},
		unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if i.flags != 0 {
		return setFlags(path, i.flags)
	}
	return nil
}

// longName has the maximum of 255 bytes.
var longName = fmt.Sprintf("%0255d", 7)

// everything returns a tree with a file of each kind.
func everything() []item {
	items := []item{
		directory(".", 0o755, 0, 0),
		directory("bin", 0o755, 0, 0),
		file("bin/suid", 0o4755, 0, 0),
		file("bin/sgid", 0o2755, 0, 42),
		file("bin/sgid-noexec", 0o2644, 0, 42),
		file("bin/both", 0o6711, 5, 42),
		file("bin/suid-noexec", 0o4600, 8, 8),
		directory("sgid", 0o2775, 0, 42),
		directory("sticky", 0o3777, 0, 42),
		directory("tmp", 0o1777, 0, 0),
		file("bin/caps", 0o755, 0, 0).with(capsName, caps2()),
		file("bin/caps-shifted", 0o755, 0, 0).with(capsName, caps3(100000)),
		file("bin/caps-nested", 0o755, 1, 1).with(capsName, caps3(5000)),
		file("bin/suid-caps", 0o4755, 0, 0).with(capsName, caps2()),
		directory("acl", 0o750, 1, 1).with(accessName, acl(1000, 42, 7, 5)).with(deflName,
			acl(1000, 42, 7, 5)),
		file("acl/file", 0o640, 1, 1).with(accessName, acl(33, 65534, 6, 4)),
		file("acl/suid", 0o4750, 1, 1).with(accessName, acl(33, 65534, 7, 5)),
		file("acl/all", 0o6750, 1, 1).with(accessName, acl(33, 65534, 7, 5)).with(capsName, caps2()),
		symlink("absolute", "/etc/passwd", 0, 0),
		symlink("dangling", "nowhere", 1, 2),
		symlink("up", "../../..", 0, 0),
		node("fifo", unix.S_IFIFO, 0o600, 0, 0, 0),
		node("socket", unix.S_IFSOCK, 0o755, 3, 3, 0),
		node("null", unix.S_IFCHR, 0o666, 0, 0, unix.Mkdev(1, 3)),
		node("whiteout", unix.S_IFCHR, 0, 0, 0, 0),
		node("disk", unix.S_IFBLK, 0o660, 0, 6, unix.Mkdev(7, 200)),
		file("\xff\xfe", 0o644, 0, 0),
		file("new\nline", 0o4755, 0, 0),
		file("-rf", 0o644, 0, 0),
		file(" a b ", 0o644, 0, 0),
		file(longName, 0o644, 0, 0),
		directory("closed", 0, 0, 0),
		file("closed/file", 0, 9, 9),
		file("hosts", 0o644, 100000, 100000),
		file("half", 0o644, 0, 100000),
		file("overflow-id", 0o644, 65534, 65534),
		file("user", 0o644, 0, 0).with("user.note", []byte("a")).with("trusted.note",
			[]byte("b")).with("security.note", []byte("c")),
	}
	return append(items, linked()...)
}

// linked returns files with several names in two directories.
func linked() []item {
	return []item{
		directory("lib", 0o755, 0, 0), directory("lib/deep", 0o755, 0, 0),
		file("lib/plain", 0o644, 7, 7), hardLink("lib/plain2", "lib/plain"),
		hardLink("lib/deep/plain3", "lib/plain"),
		file("lib/suid", 0o4755, 0, 0).with(capsName, caps2()), hardLink("lib/suid2", "lib/suid"),
		hardLink("lib/deep/suid3", "lib/suid"),
	}
}
