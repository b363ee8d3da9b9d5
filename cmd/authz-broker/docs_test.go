package main

import (
	"io"
	"testing"

	"palisade/internal/cli/clidoc"
)

// TestDocuments compares the man page and the completions with the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{App: newProgram(io.Discard).App, Values: map[string][]string{
		"--engine":        {"docker", "podman", "isulad"},
		"--audit":         {"stdout", "syslog"},
		"--docker-socket": {"off"},
		"--isulad-socket": {"off"},
		"--image":         {"tecnativa", "linuxserver"},
		"--method":        {"GET", "HEAD", "POST", "PUT", "DELETE"},
	}}
	p.Check(t, "../..")
}
