package toolkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"palisade/internal/inject/mounts"
	"palisade/internal/linux/sys"
)

// boundFile is the file in the RuntimeDir that records the mount made by Prestart.
const boundFile = "bound"

const maxBound = 1 << 20

// bound identifies a mount. The ID alone does not: the kernel reuses it.
type bound struct {
	Mountpoint   string
	ID           int
	Major, Minor int
	// Root is the directory of the file system that is mounted.
	Root string
}

func boundOf(m *mounts.Mount) bound { return bound{m.Mountpoint, m.ID, m.Major, m.Minor, m.Root} }

func (t *Toolkit) markBound(dir string) error {
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	m := table.Top(dir)
	if m == nil {
		return fmt.Errorf("the mount on %s was unmounted meanwhile", dir)
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

// UndoPrestart unmounts the mount that Prestart has made, if it still exists, and no other.
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
			return fmt.Errorf("unmount %s: its topmost mount was not made by lxcfs-toolkit prestart",
				made.Mountpoint)
		}
		if err := sys.Unmount(made.Mountpoint, 0); err != nil {
			return err
		}
		t.Log.Info("unmounted the shared mount", "dir", made.Mountpoint)
	}
	return os.Remove(file)
}
