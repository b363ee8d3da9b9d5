// Package oci speaks the Open Container Initiative's runtime specification as hooks and runtime wrappers need it: a hook's
// state, a bundle's configuration, hooks, and the command line of runtimes.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// State is what a runtime tells its hooks on stdin (runtime-spec, runtime.md, "State"), with what some add to it.
type State struct {
	specs.State
	// Root is the root file system: crun's may be relative to the bundle; lcr's is where it mounts it; runc gives none.
	Root string `json:"root"`
}

// HasStopped tells whether the state is that of a container without a process, as poststop hooks get it; iSulad's lcr
// gives no status, but the pid -1.
func (s *State) HasStopped() bool {
	return s.Status == specs.StateStopped || s.Status == "" && s.Pid <= 0
}

// maxState bounds a state: annotations of Kubernetes alone may take 256 KiB.
const maxState = 1 << 20

// ReadState reads a state. It does not wait for the end of the input, which not every runtime closes; and no longer than
// ctx allows: the rest of the input is read, if it ever comes, behind the caller's back.
func ReadState(ctx context.Context, r io.Reader) (State, error) {
	type result struct {
		state State
		err   error
	}
	done := make(chan result, 1)
	go func() {
		s, err := decodeState(r)
		done <- result{s, err}
	}()
	select {
	case got := <-done:
		return got.state, got.err
	case <-ctx.Done():
		return State{}, fmt.Errorf("no hook state on stdin: %w", ctx.Err())
	}
}

func decodeState(r io.Reader) (State, error) {
	var s State
	limited := &io.LimitedReader{R: r, N: maxState}
	switch err := json.NewDecoder(limited).Decode(&s); {
	case errors.Is(err, io.EOF):
		return State{}, errors.New("there is no hook state on stdin: an OCI runtime is to call this")
	case err != nil && limited.N == 0:
		return State{}, fmt.Errorf("the hook state on stdin is larger than %d bytes", maxState)
	case err != nil:
		return State{}, fmt.Errorf("the hook state on stdin is not understood: %w", err)
	}
	if err := CheckID(s.ID); err != nil {
		return State{}, fmt.Errorf("the hook state on stdin: %w", err)
	}
	return s, nil
}

// maxID is how long an id may be: the length of a file name, which runtimes make of it.
const maxID = 255

// CheckID makes sure that a container's id is one that runtimes take, and so the name of a file: runc allows letters,
// digits and _+-. only, crun all but /.
func CheckID(id string) error {
	isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case id == "":
		return errors.New("it has no container id")
	case len(id) > maxID:
		return fmt.Errorf("the container id %q... has %d bytes, %d are allowed", id[:32], len(id), maxID)
	case strings.Contains(id, "/") || strings.ContainsFunc(id, isControl) || id == "." || id == "..":
		return fmt.Errorf("the container id %q is not the name of a file", id)
	}
	return nil
}
