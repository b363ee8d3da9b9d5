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
func ReplaceFile(path string, text []byte, like fs.FileInfo) error {
	return replaceFile(path, text, like, false)
}

// ReplaceFileSynced is like ReplaceFile with mode 0600, and syncs the file and its directory.
func ReplaceFileSynced(path string, text []byte) error {
	if err := replaceFile(path, text, nil, true); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// CreateFileSynced atomically creates the file at path with mode 0600 and the content text, and
// syncs the file and its directory. It fails with fs.ErrExist if the file exists.
func CreateFileSynced(path string, text []byte) error {
	temporary, err := writeTemporary(path, text, nil, true)
	if err != nil {
		return err
	}
	defer os.Remove(temporary) // a hard link to the file
	if err := os.Link(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func replaceFile(path string, text []byte, like fs.FileInfo, synced bool) error {
	temporary, err := writeTemporary(path, text, like, synced)
	if err == nil {
		if err = os.Rename(temporary, path); err != nil {
			os.Remove(temporary)
		}
	}
	return err
}

// writeTemporary writes text to a new file in the directory of path, and returns its name.
func writeTemporary(path string, text []byte, like fs.FileInfo, synced bool) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", err
	}
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
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
