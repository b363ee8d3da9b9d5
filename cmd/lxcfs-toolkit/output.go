package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/engine"
	"palisade/internal/toolkit"
)

// print writes a result as JSON if that is wanted, else as a table: the columns that write separates by tabs.
func (g *globals) print(w io.Writer, result any, write func(io.Writer)) error {
	if g.json {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false) // commands in it are read by people, too
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

// jsonFlag lets a command that prints results take --json behind its name as well.
func (g *globals) jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print the result as JSON", Action: func(_ *cli.Context, wanted bool) error {
		g.json = g.json || wanted
		return nil
	}}
}

// joinWords joins names, none of which has power over the terminal.
func joinWords(words []string) string {
	shown := make([]string, len(words))
	for i, word := range words {
		shown[i] = cmdline.Word(word)
	}
	return strings.Join(shown, " ")
}

// warnSkipped tells of engines that were not asked for their containers.
func (g *globals) warnSkipped(engines []toolkit.SkippedEngine) {
	for _, skipped := range engines {
		g.log.Warn("an engine was not asked", "engine", skipped.Source, "err", skipped.Error)
	}
}

// short is an id as tables show it. That of a container which no engine knows is a name that somebody in it may have made.
func short(id string) string { return cmdline.Word(engine.ShortID(id)) }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
