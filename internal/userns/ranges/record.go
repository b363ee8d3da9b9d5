package ranges

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// recordPrefix begins the names of records in the directory of a container's id. A record is a
// symbolic link to the first id of the container's range.
const recordPrefix = "range-"

func (r *Registry) recordPath(c Container) string {
	sum := sha256.Sum256([]byte(c.Bundle))
	return filepath.Join(r.records, c.ID, recordPrefix+hex.EncodeToString(sum[:8]))
}

// record records the range of a container. isKept is false if another process has collected the
// entry before, since it had no record.
func (r *Registry) record(
	ctx context.Context, c Container, e *Entry,
) (isKept bool, err error) {
	path := r.recordPath(c)
	err = r.locked(ctx, func() error {
		now, err := r.read(e.First)
		if err != nil || now == nil || now.Token != e.Token {
			return err
		}
		isKept = true
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(strconv.FormatUint(uint64(e.First), 10), path)
	})
	return isKept, err
}

// recorded returns the entry of a container by its record, nil if it has none.
func (r *Registry) recorded(c Container) *Entry {
	if c.ID == "" {
		return nil
	}
	first, ok := readRecord(r.recordPath(c))
	if !ok {
		return nil
	}
	e, err := r.read(first)
	if err != nil || e == nil || e.Kind != ForContainer || e.Machine != r.machine ||
		e.Owner != c.ID {
		return nil
	}
	return e
}

func readRecord(path string) (first uint32, ok bool) {
	text, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	return parseID(text)
}

// recordsOf returns the paths of the records of all containers with an id.
func (r *Registry) recordsOf(id string) (paths []string, err error) {
	entries, err := os.ReadDir(filepath.Join(r.records, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), recordPrefix) {
			paths = append(paths, filepath.Join(r.records, id, e.Name()))
		}
	}
	return paths, err
}

// isRecorded reports whether a container with the id of the entry's owner has the range.
func (r *Registry) isRecorded(e *Entry) (bool, error) {
	paths, err := r.recordsOf(e.Owner)
	return slices.ContainsFunc(paths, func(path string) bool {
		first, ok := readRecord(path)
		return ok && first == e.First
	}), err
}

// Release frees the range of a container that has ended, and removes its record. Without a bundle,
// it does so if only one container has the id. The range of a container with processes is left,
// until Release is called after their end.
func (r *Registry) Release(ctx context.Context, c Container) error {
	path := r.recordPath(c)
	if c.Bundle == "" {
		paths, err := r.recordsOf(c.ID)
		if err != nil || len(paths) != 1 {
			return err
		}
		path = paths[0]
	}
	first, ok := readRecord(path)
	if !ok {
		return nil
	}
	inUse, err := running(filepath.Join(r.root, "proc"))
	if err != nil {
		return err
	}
	return r.locked(ctx, func() error {
		e, err := r.read(first)
		if err != nil {
			return err
		}
		if e != nil && conflict(inUse, e.First, e.Size) != nil {
			return nil
		}
		// A tree may have taken the range over.
		if e != nil && e.Kind == ForContainer && e.Machine == r.machine && e.Owner == c.ID {
			err = os.Remove(r.path(first))
		}
		if err = errors.Join(err, os.Remove(path)); err == nil {
			err = os.Remove(filepath.Dir(path))
		}
		if errors.Is(err, syscall.ENOTEMPTY) { // another container has the same id
			err = nil
		}
		return err
	})
}
