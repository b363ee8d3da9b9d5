package views

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// addCalls lets system calls of the container be answered.
func addCalls(*specs.Spec, Set) error { return errors.New("not supported yet") }
