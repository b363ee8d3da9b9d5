package main

import (
	"flag"
	"io"
	"testing"

	"palisade/internal/clidoc"
)

var update = flag.Bool("update", false, "write the man page and the completions instead of comparing them")

// TestDocuments holds the man page and the completions to the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{App: newApp(io.Discard), Values: map[string][]string{
		"--engine":        {"docker", "isulad"},
		"--audit":         {"stdout", "syslog"},
		"--docker-socket": {"off"},
		"--isulad-socket": {"off"},
		"--method":        {"GET", "HEAD", "POST", "PUT", "DELETE"},
	}}
	if err := p.Check("../..", *update); err != nil {
		t.Error(err)
	}
}
