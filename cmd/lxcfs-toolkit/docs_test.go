package main

import (
	"testing"

	"palisade/internal/cli/clidoc"
)

// TestDocuments compares the man page and the completions with the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{
		App:     newProgram().App,
		Aliases: []string{"lxcfs-tools"},
		Values: map[string][]string{
			"--log-level": {"debug", "info", "warn", "error"}, "--log-format": {"text", "json"},
			"hook-spec": {"containerd", "crio", "docker", "isulad", "podman", "runc"},
		},
	}
	p.Check(t, "../..")
}
