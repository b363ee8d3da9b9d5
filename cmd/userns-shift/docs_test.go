package main

import (
	"io"
	"testing"

	"palisade/internal/cli/clidoc"
)

// TestDocuments compares the man page and the completions with the options of the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{App: newProgram(io.Discard, io.Discard).App, Values: map[string][]string{
		"--unmapped":  {"fail", "keep", "squash="},
		"--immutable": {"fail", "skip", "clear"},
		"--hardlinks": {"fail", "ignore"},
		"--caps":      {"v3", "v2", "drop"},
		"--progress":  {"auto", "bar", "json", "none"},
		"--mode":      {"auto", "shift", "idmap", "check"},
		"--stage":     {"auto", "precreate", "prestart", "createRuntime", "poststop"},
		"--fallback":  {"none", "shift"},
		"--engine":    {"isulad"},
		"hook-spec":   {"containerd", "crio", "docker", "isulad", "nri", "podman", "runc"},
	}}
	p.Check(t, "../..")
}
