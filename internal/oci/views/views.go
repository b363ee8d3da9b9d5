// Package views gives containers views of what the kernel tells in other ways than by files: clocks
// and the answers of system calls. All are optional, and wanted by name.
package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Annotation holds the list of views of a container (see Parse). It takes precedence over those of
// the host.
const Annotation = "palisade.views"

// Set is a set of views.
type Set struct {
	// Time lets CLOCK_BOOTTIME, and with it the uptime, begin with the container.
	Time bool
	// Sysinfo answers sysinfo(2), and Affinity answers sched_getaffinity(2), with the limits of the
	// container.
	Sysinfo, Affinity bool
}

// names are the names of the views, in the order of String.
var names = []string{"time", "sysinfo", "affinity"}

func (s *Set) field(name string) *bool {
	switch name {
	case "time":
		return &s.Time
	case "sysinfo":
		return &s.Sysinfo
	case "affinity":
		return &s.Affinity
	}
	return nil
}

// Parse parses a list of views, separated by commas: "time,sysinfo,affinity", "all" or "none".
func Parse(list string) (Set, error) {
	switch list {
	case "all":
		return Set{Time: true, Sysinfo: true, Affinity: true}, nil
	case "none":
		return Set{}, nil
	}
	var s Set
	for name := range strings.SplitSeq(list, ",") {
		field := s.field(strings.TrimSpace(name))
		if field == nil {
			return Set{}, fmt.Errorf("unknown view %q in %q: want %s, all or none",
				name, list, strings.Join(names, ", "))
		}
		*field = true
	}
	return s, nil
}

// String returns the list that Parse parses.
func (s Set) String() string {
	list := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !*s.field(name) })
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}

// Skipped is the error for a container that a view does not suit: why it is left as it is.
type Skipped string

func (s Skipped) Error() string { return string(s) }

// Apply adapts a configuration to the views of its annotation, or without one to those of the host.
// runtime returns the features of the runtime that will get it, and socket the path of the socket at
// which lxcfs answers system calls; both are called only if a view depends on them. Each view that
// the container does not get has an error, as Skipped or another; the others are applied.
//
// What an earlier Apply has added is removed before: a bundle may be used again.
func Apply(
	spec *specs.Spec, ofHost Set, runtime func() (*features.Features, error),
	socket func() (string, error),
) (errs []error) {
	undoTime(spec)
	undoCalls(spec)
	wanted := ofHost
	if list, ok := spec.Annotations[Annotation]; ok {
		var err error
		if wanted, err = Parse(list); err != nil {
			return []error{fmt.Errorf("annotation %s: %w", Annotation, err)}
		}
	}
	if wanted.Time {
		if err := addTime(spec, runtime); err != nil {
			errs = append(errs, fmt.Errorf("view time: %w", err))
		}
	}
	if wanted.Sysinfo || wanted.Affinity {
		if err := addCalls(spec, wanted, socket); err != nil {
			wanted.Time = false
			errs = append(errs, fmt.Errorf("view %s: %w", wanted, err))
		}
	}
	return errs
}
