package toolkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"palisade/internal/mounts"
	"palisade/internal/sys"
)

// boundFile is the file in the RuntimeDir that tells which mount Prestart has made.
const boundFile = "bound"

// maxBound bounds the size of that file, in bytes.
const maxBound = 1 << 20

// bound is what a mount is known by. The kernel gives an ID again to the next mount, when the first is gone.
type bound struct {
	Mountpoint   string
	ID           int
	Major, Minor int
	// Root is the folder of the file system that is mounted.
	Root string
}

func boundOf(m *mounts.Mount) bound { return bound{m.Mountpoint, m.ID, m.Major, m.Minor, m.Root} }

// markBound notes which mount was made on the directory.
func (t *Toolkit) markBound(dir string) error {
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	m := table.Top(dir)
	if m == nil {
		return fmt.Errorf("nothing is mounted on %s any more", dir)
	}
	text, err := json.Marshal(boundOf(m))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(t.RuntimeDir, 0o700); err != nil {
		return err
	}
	return sys.ReplaceFile(filepath.Join(t.RuntimeDir, boundFile), text, nil)
}

// UndoPrestart takes away the mount that Prestart has made, if it is still there, and no mount of anybody else's.
func (t *Toolkit) UndoPrestart() error {
	file := filepath.Join(t.RuntimeDir, boundFile)
	text, err := sys.ReadRegular(file, maxBound)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var made bound
	if err := json.Unmarshal(text, &made); err != nil {
		return fmt.Errorf("parse %s: %w", file, err)
	}
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	if top := table.Top(made.Mountpoint); top != nil {
		if boundOf(top) != made {
			return fmt.Errorf("%s stays mounted: what is mounted there last is not of lxcfs-toolkit prestart", made.Mountpoint)
		}
		if err := sys.Unmount(made.Mountpoint, 0); err != nil {
			return err
		}
		t.Log.Info("took the shared mount away", "dir", made.Mountpoint)
	}
	return os.Remove(file)
}
