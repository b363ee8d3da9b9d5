package procfs

import (
	"sync/atomic"
	"time"
)

// source is a text of the kernel and the last snapshot of it.
type source[T any] struct {
	maxAge time.Duration
	load   func() (*T, error)
	last   atomic.Pointer[snapshot[T]]
	// busy is set while somebody reads the text anew.
	busy atomic.Bool
}

// snapshot is a parsed text and when its reading began. It never changes.
type snapshot[T any] struct {
	value *T
	taken time.Time
}

func (s *source[T]) init(maxAge time.Duration, load func() (*T, error)) {
	s.maxAge, s.load = maxAge, load
}

// get returns a snapshot that is not too old at the time now: the last one, or else a new one.
func (s *source[T]) get(now time.Time) (*T, error) {
	last := s.last.Load()
	if last == nil {
		return s.refresh(now)
	}
	age := now.Sub(last.taken)
	if age < s.maxAge {
		return last.value, nil
	}
	if s.busy.CompareAndSwap(false, true) {
		defer s.busy.Store(false)
		return s.refresh(now)
	}
	if age < s.maxAge+grace {
		return last.value, nil
	}
	return s.refresh(now)
}

// refresh reads the text anew. Of several who do so at once the first to end has the snapshot for all: each one's reading
// began after the one before it was there, so that nobody who reads twice gets the older text last.
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
