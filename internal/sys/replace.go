package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReplaceFile makes text the content of the file at path, at once or not at all: it is written to a temporary file beside
// it, which is renamed. The file has the mode 0600, or the owner and mode of like, if that is not nil. It is not synced: after a
// crash of the machine the file may be the old one, or empty. See ReplaceFileSynced.
func ReplaceFile(path string, text []byte, like fs.FileInfo) error {
	return replaceFile(path, text, like, false)
}

// ReplaceFileSynced does the same, with the mode 0600, and returns when the file would survive a crash of the machine.
func ReplaceFileSynced(path string, text []byte) error {
	if err := replaceFile(path, text, nil, true); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func replaceFile(path string, text []byte, like fs.FileInfo, synced bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
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
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // the first error tells more
	}
	return err
}
