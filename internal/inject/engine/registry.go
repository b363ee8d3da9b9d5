package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/oci"
)

// Registry is a directory with a file for each container that the hook has seen. The name of the
// file is the pid of the container's init.
type Registry struct {
	// Dir is the directory of the registry, Proc is /proc.
	Dir, Proc string
}

type record struct {
	ID string `json:"id"`
	// Start is the start time of the process, in clock ticks since boot: the pid may be reused.
	Start int64 `json:"start"`
}

func (r *record) check() error {
	if r.Start <= 0 {
		return errors.New("missing start time")
	}
	return oci.CheckID(r.ID)
}

// Add adds a container with its init. It removes some containers that have ended, which bounds the
// size of the registry.
func (r Registry) Add(id string, pid int) error {
	start, ok := startOf(r.Proc, pid)
	if !ok {
		return fmt.Errorf("process %d has ended", pid)
	}
	text, err := json.Marshal(record{id, int64(start / procfs.ClockTick)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	r.removeSome()
	return sys.ReplaceFile(filepath.Join(r.Dir, strconv.Itoa(pid)), text, nil)
}

// removeSome checks a few files, so that at most about a third of all belong to containers that
// have ended.
func (r Registry) removeSome() {
	const some = 4
	entries, err := os.ReadDir(r.Dir)
	if err != nil || len(entries) == 0 {
		return
	}
	for range some {
		// findings reports errors.
		r.read(entries[rand.IntN(len(entries))].Name())
	}
}

// findings returns the containers whose init runs, and removes the others.
func (r Registry) findings() ([]finding, error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []finding
	var errs []error
	for _, entry := range entries {
		f, ok, err := r.read(entry.Name())
		if ok {
			found = append(found, f)
		}
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// abandoned is the age at which a temporary file of a hook that was killed is removed.
const abandoned = time.Minute

// read reads a file, and removes it if the container has ended. It returns false then.
func (r Registry) read(name string) (f finding, ok bool, err error) {
	file := filepath.Join(r.Dir, name)
	pid, err := strconv.Atoi(name)
	if err != nil {
		if info, err := os.Lstat(file); err == nil && time.Since(info.ModTime()) > abandoned {
			os.Remove(file) // if that fails, the next command tries again
		}
		return f, false, nil
	}
	var kept record
	text, err := sys.ReadRegular(file, maxRecord)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err == nil {
		err = kept.check()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("%s: %w", file, err)
	}
	f = finding{
		Container: Container{ID: kept.ID, PID: pid},
		started:   time.Duration(kept.Start) * procfs.ClockTick,
	}
	if isAlive(r.Proc, &f) {
		return f, true, nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, false, err
	}
	return f, false, nil
}

// maxRecord bounds the size of a record and similar small files, in bytes.
const maxRecord = 4096
