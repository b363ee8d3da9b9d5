package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReplaceFile atomically replaces the file at path with one that has the content text, and the
// owner and permissions of like, or mode 0600 if like is nil. It does not sync: after a crash of
// the machine the file may be the old one, or empty.
//
// github.com/google/renameio does not fit: it always syncs, and keeps no owner.
func ReplaceFile(path string, text []byte, like fs.FileInfo) error {
	return install(path, text, like, false, os.Rename)
}

// ReplaceFileSynced is like ReplaceFile with mode 0600, and syncs the file and its directory.
func ReplaceFileSynced(path string, text []byte) error {
	return install(path, text, nil, true, os.Rename)
}

// CreateFileSynced atomically creates the file at path with mode 0600 and the content text, and
// syncs the file and its directory. It fails with fs.ErrExist if the file exists.
func CreateFileSynced(path string, text []byte) error {
	return install(path, text, nil, true, os.Link)
}

// install writes text to a temporary file in the directory of path, and calls to to move it there.
func install(
	path string, text []byte, like fs.FileInfo, synced bool, to func(temporary, path string) error,
) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails if it was renamed
	if like != nil {
		if owner, ok := like.Sys().(*syscall.Stat_t); ok {
			err = f.Chown(int(owner.Uid), int(owner.Gid))
		}
		err = errors.Join(err, f.Chmod(like.Mode().Perm()))
	}
	if err == nil {
		_, err = f.Write(text)
	}
	if err == nil && synced {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = to(f.Name(), path)
	}
	if err != nil || !synced {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir writes the entries of a directory to disk (fsync(2)).
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
