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

func parseRecord(text []byte) (r record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	if r.Start <= 0 {
		return r, errors.New("missing start time")
	}
	return r, oci.CheckID(r.ID)
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
	// A check of a few files, so that at most about a third of all belong to containers that have
	// ended. findings reports errors.
	entries, _ := os.ReadDir(r.Dir)
	for range min(4, len(entries)) {
		r.read(entries[rand.IntN(len(entries))].Name())
	}
	return sys.ReplaceFile(filepath.Join(r.Dir, strconv.Itoa(pid)), text, nil)
}

// Forget removes a container whose init has ended.
func (r Registry) Forget(pid int) { r.read(strconv.Itoa(pid)) }

// findings returns the containers whose init runs, and removes the others.
func (r Registry) findings() ([]finding, error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
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
		kept, err = parseRecord(text)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	} else if err != nil {
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
