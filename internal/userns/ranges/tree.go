package ranges

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/linux/sys"
)

// Tree identifies the directory that holds the files of a tree on a disk.
type Tree struct {
	Path string
	// FileSystem identifies the file system, across reboots if that has a UUID.
	FileSystem string
	// Handle is the file handle of the directory, or its inode number after noHandle if the file
	// system has no handles.
	Handle []byte
}

// noHandle begins an identity that no file handle has, by its type.
var noHandle = []byte{0xff, 0xff, 0xff, 0xff}

// TreeAt returns the identity of an open directory.
func TreeAt(dir sys.File, path string) (Tree, error) {
	t := Tree{Path: path}
	var err error
	if t.FileSystem, err = fileSystemOf(dir); err != nil {
		return t, err
	}
	if t.Handle, err = dir.Handle(sys.Name{0}); err != nil || t.Handle != nil {
		return t, err
	}
	i, err := dir.Statx()
	t.Handle = binary.LittleEndian.AppendUint64(bytes.Clone(noHandle), i.Number)
	return t, err
}

// lasting are the file systems whose f_fsid in statfs(2) belongs to no other file system, also after
// a reboot. Identities of others begin with temporary: no tree on them is known to be gone.
var lasting = []int64{sys.ExtMagic, sys.BtrfsMagic, sys.TmpfsMagic}

const temporary = "-"

// fileSystemOf returns an identity of a directory's file system.
func fileSystemOf(dir sys.File) (string, error) {
	kind, err := dir.FSType()
	if err != nil {
		return "", err
	}
	if kind == sys.XFSMagic { // f_fsid is the device number
		id, err := dir.XFSUUID()
		return hex.EncodeToString(id[:]), err
	}
	id, err := dir.FSID()
	if !slices.Contains(lasting, kind) {
		return fmt.Sprintf("%s%x", temporary, id), err
	}
	text := binary.BigEndian.AppendUint32(nil, uint32(id[0]))
	return hex.EncodeToString(binary.BigEndian.AppendUint32(text, uint32(id[1]))), err
}

// owns reports whether the tree is the owner of an entry.
func (t *Tree) owns(e *Entry) bool {
	return e.Kind == ForTree && e.FileSystem == t.FileSystem && bytes.Equal(e.Handle, t.Handle)
}

// isGone reports whether a tree is deleted for certain: its file system is mounted where the tree
// was, and has no file with its handle.
func (t *Tree) isGone() bool {
	if bytes.HasPrefix(t.Handle, noHandle) || strings.HasPrefix(t.FileSystem, temporary) ||
		!filepath.IsAbs(t.Path) {
		return false
	}
	path := t.Path
	dir, err := sys.OpenDir(path)
	for errors.Is(err, fs.ErrNotExist) && path != "/" {
		path = filepath.Dir(path)
		dir, err = sys.OpenDir(path)
	}
	if err != nil {
		return false
	}
	defer dir.Close()
	mounted, err := fileSystemOf(dir)
	if err != nil || mounted != t.FileSystem {
		return false
	}
	exists, err := dir.HasHandle(t.Handle)
	return err == nil && !exists
}
