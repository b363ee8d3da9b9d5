package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
)

// State is the state that a runtime writes to a hook's stdin (runtime-spec, runtime.md, "State").
type State struct {
	specs.State
	// Root is the root filesystem, an extension: crun's may be relative to the bundle, lcr's is its
	// mount point, and runc has none.
	Root string `json:"root"`
}

// HasStopped reports whether the container has no process, as in the state for poststop hooks.
// iSulad's lcr writes no status, but the pid -1.
func (s *State) HasStopped() bool {
	return s.Status == specs.StateStopped || s.Status == "" && s.Pid <= 0
}

// maxState is the maximum size of a state, in bytes. Annotations of Kubernetes may take 256 KiB.
const maxState = 1 << 20

// ReadState reads a state, as ReadObject does.
func ReadState(ctx context.Context, r io.Reader) (State, error) {
	s, err := ReadObject[State](ctx, r, "hook state", maxState)
	if err != nil {
		return State{}, err
	}
	if err := CheckID(s.ID); err != nil {
		return State{}, fmt.Errorf("hook state on stdin: %w", err)
	}
	return s, nil
}

// ReadObject reads one JSON object of at most max bytes, which errors call what. It does not wait
// for the end of the input, since some runtimes do not close it. If ctx ends first, a goroutine may
// still be reading r when ReadObject returns.
func ReadObject[T any](ctx context.Context, r io.Reader, what string, max int64) (T, error) {
	object, err := sys.Within(ctx, func() (object T, err error) {
		limited := &io.LimitedReader{R: r, N: max}
		switch err = json.NewDecoder(limited).Decode(&object); {
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("no %s on stdin: an OCI runtime must call this", what)
		case err != nil && limited.N == 0:
			err = fmt.Errorf("%s on stdin: larger than %d bytes", what, max)
		case err != nil:
			err = fmt.Errorf("parse %s on stdin: %w", what, err)
		}
		return object, err
	}, nil)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no %s on stdin: %w", what, ctx.Err())
	}
	return object, err
}

// maxID is the maximum length of a container id, which runtimes use as a file name, in bytes.
const maxID = 255

// CheckID returns an error unless id is a file name that runtimes accept as a container's id: runc
// accepts letters, digits and _+-., crun all characters but /.
func CheckID(id string) error {
	isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case id == "":
		return errors.New("no container id")
	case len(id) > maxID:
		return fmt.Errorf("container id %q...: %d bytes, want at most %d", id[:32], len(id), maxID)
	case strings.Contains(id, "/"), strings.ContainsFunc(id, isControl), id == ".", id == "..":
		return fmt.Errorf("container id %q is not a file name", id)
	}
	return nil
}
