package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReplaceFile makes text the content of the file at path, at once or not at all: it is written to a temporary file beside
// it, which is renamed. The file has the mode 0600, or the owner and mode of like, if that is not nil. It is not synced: no
// file that is written so is to survive a crash of the machine.
func ReplaceFile(path string, text []byte, like fs.FileInfo) error {
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
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // the first error tells more
	}
	return err
}
