package procfs

import (
	"sync/atomic"
	"time"
)

// source is a file of the kernel with the last snapshot of it.
type source[T any] struct {
	maxAge time.Duration
	load   func() (*T, error)
	last   atomic.Pointer[snapshot[T]]
	// loading is true while a reader replaces an old snapshot.
	loading atomic.Bool
}

// snapshot is an immutable parsed file with the time before it was read.
type snapshot[T any] struct {
	value *T
	taken time.Time
}

func (s *source[T]) init(maxAge time.Duration, load func() (*T, error)) {
	s.maxAge, s.load = maxAge, load
}

// get returns the last snapshot, or a new one if that is too old at the time now.
func (s *source[T]) get(now time.Time) (*T, error) {
	last := s.last.Load()
	if last == nil {
		return s.refresh(now)
	}
	age := now.Sub(last.taken)
	if age < s.maxAge {
		return last.value, nil
	}
	if s.loading.CompareAndSwap(false, true) {
		defer s.loading.Store(false)
		return s.refresh(now)
	}
	if age < s.maxAge+grace {
		return last.value, nil
	}
	return s.refresh(now)
}

// refresh reads the file. If several readers do so at once, the first to finish stores the snapshot
// for all of them. Its read began after the previous snapshot was stored, so that no reader sees an
// older snapshot after a newer one.
func (s *source[T]) refresh(now time.Time) (*T, error) {
	for {
		before := s.last.Load()
		v, err := s.load()
		if err != nil {
			return nil, err
		}
		if s.last.CompareAndSwap(before, &snapshot[T]{v, now}) {
			return v, nil
		}
		if last := s.last.Load(); now.Sub(last.taken) < s.maxAge+grace {
			return last.value, nil
		}
	}
}
