package main

import (
	"strings"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/engine"
)

// joinWords joins names. It quotes control characters, which could change the terminal.
func joinWords(words []string) string {
	shown := make([]string, len(words))
	for i, word := range words {
		shown[i] = cmdline.Word(word)
	}
	return strings.Join(shown, " ")
}

// warnSkipped logs the engines that could not list their containers.
func (g *globals) warnSkipped(engines []engine.Skipped) {
	for _, skipped := range engines {
		g.Log.Warn("containers of an engine not listed", "engine", skipped.Source, "err", skipped.Error)
	}
}

// short returns an id as tables show it, quoted: processes in a container that no engine knows may
// have chosen it.
func short(id string) string { return cmdline.Word(engine.ShortID(id)) }
