package ctr

import "os"

// InSoak reports whether `make soak` runs the tests.
func InSoak() bool { return os.Getenv("PALISADE_SOAK") != "" }

// Repeat returns how often a test repeats what fails only by chance, or how many objects it makes:
// large in `make soak`, else small.
func Repeat(small, large int) int {
	if InSoak() {
		return large
	}
	return small
}
