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

	"palisade/internal/oci"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// Registry is a folder with a file for each container that the hook has seen, which is called by the pid of the
// container's first process.
type Registry struct {
	// Dir is the folder, Proc is /proc.
	Dir, Proc string
}

// record is the content of such a file.
type record struct {
	ID string `json:"id"`
	// Start is when the process started, in clock ticks since boot: it tells the process from another one with its pid.
	Start int64 `json:"start"`
}

func (r *record) check() error {
	if r.Start <= 0 {
		return errors.New("it has no start time")
	}
	return oci.CheckID(r.ID)
}

// Add adds a container with its first process. Of those that have ended it forgets some, so that the registry does not
// grow without bound.
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
	r.forgetSome()
	return sys.ReplaceFile(filepath.Join(r.Dir, strconv.Itoa(pid)), text, nil)
}

// forgetSome looks at a few files, so that about a third of them at most are of containers that have ended.
func (r Registry) forgetSome() {
	const some = 4
	entries, err := os.ReadDir(r.Dir)
	if err != nil || len(entries) == 0 {
		return
	}
	for range some {
		// An error is one that the next reader of all meets too.
		r.read(entries[rand.IntN(len(entries))].Name())
	}
}

// findings are the containers whose first process runs. The others are forgotten.
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

// abandoned is after what time a file with another name is one that a hook has not come to rename.
const abandoned = time.Minute

// read reads a file, and removes it if the container has ended.
func (r Registry) read(name string) (f finding, ok bool, err error) {
	file := filepath.Join(r.Dir, name)
	pid, err := strconv.Atoi(name)
	if err != nil {
		if info, err := os.Lstat(file); err == nil && time.Since(info.ModTime()) > abandoned {
			os.Remove(file) // the next one will do it
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
	f = finding{Container: Container{ID: kept.ID, PID: pid}, started: time.Duration(kept.Start) * procfs.ClockTick}
	if isAlive(r.Proc, &f) {
		return f, true, nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, false, err
	}
	return f, false, nil
}

const maxRecord = 4096
