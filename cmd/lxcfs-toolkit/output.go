package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/engine"
	"palisade/internal/inject/toolkit"
)

// print writes a result as JSON with --json, or else as a table, whose columns write separates by
// tabs.
func (g *globals) print(w io.Writer, result any, write func(io.Writer)) error {
	if g.json {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false) // it contains commands, which people copy
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(result); err != nil {
			return err
		}
		_, err := w.Write(cmdline.SafeJSON(b.Bytes()))
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	write(table)
	return table.Flush()
}

// jsonFlag returns the global option --json as an option of a command.
func (g *globals) jsonFlag() cli.Flag {
	set := func(_ *cli.Context, wanted bool) error {
		g.json = g.json || wanted
		return nil
	}
	return &cli.BoolFlag{Name: "json", Usage: "print the result as JSON", Action: set}
}

// joinWords joins names. It quotes control characters, which could change the terminal.
func joinWords(words []string) string {
	shown := make([]string, len(words))
	for i, word := range words {
		shown[i] = cmdline.Word(word)
	}
	return strings.Join(shown, " ")
}

// warnSkipped logs the engines that could not list their containers.
func (g *globals) warnSkipped(engines []toolkit.SkippedEngine) {
	for _, skipped := range engines {
		g.log.Warn("containers of an engine not listed", "engine", skipped.Source, "err", skipped.Error)
	}
}

// short returns an id as tables show it, quoted: processes in a container that no engine knows may
// have chosen it.
func short(id string) string { return cmdline.Word(engine.ShortID(id)) }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
