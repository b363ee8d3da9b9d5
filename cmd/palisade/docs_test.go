package main

import (
	"testing"

	"palisade/internal/cli/clidoc"
	"palisade/internal/ops/doctor"
	"palisade/internal/ops/top"
)

// TestDocuments compares the man page and the completions with the program.
func TestDocuments(t *testing.T) {
	p := clidoc.Program{
		App: newProgram().App,
		Values: map[string][]string{
			"--log-level": {"debug", "info", "warn", "error"}, "--log-format": {"text", "json"},
			"--engine": doctor.Engines, "--sort": top.Orders,
		},
	}
	p.Check(t, "../..")
}
