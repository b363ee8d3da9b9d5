package main

import (
	"flag"
	"testing"

	"palisade/internal/clidoc"
)

var update = flag.Bool("update", false, "write the man page and the completions instead of comparing them")

// TestDocuments holds the man page and the completions to the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{App: newApp(), Values: map[string][]string{
		"--log-level":  {"debug", "info", "warn", "error"},
		"--log-format": {"text", "json"},
	}}
	if err := p.Check("../..", *update); err != nil {
		t.Error(err)
	}
}
