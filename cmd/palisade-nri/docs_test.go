package main

import (
	"io"
	"testing"

	"palisade/internal/cli/clidoc"
)

// TestDocuments compares the man page and the completions with the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{App: newProgram(io.Discard).App, Values: map[string][]string{
		"--default":    {"on", "off"},
		"--log-level":  {"debug", "info", "warn", "error"},
		"--log-format": {"text", "json"},
	}}
	p.Check(t, "../..")
}
