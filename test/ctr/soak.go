package ctr

import "os"

// InSoak reports whether `make soak` runs the tests.
func InSoak() bool { return os.Getenv("PALISADE_SOAK") != "" }

// Repeat returns the number of repetitions or objects of a test that finds errors by chance: large
// in `make soak`, else small.
func Repeat(small, large int) int {
	if InSoak() {
		return large
	}
	return small
}
