package main

import (
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// print writes a result as JSON if that is wanted, else as a table: the columns that write separates by tabs.
func (g *globals) print(w io.Writer, result any, write func(io.Writer)) error {
	if g.json {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
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

// short is an id as tables show it.
func short(id string) string {
	const width = 12
	if len(id) == 64 {
		return id[:width]
	}
	return id
}

func joinWords(words []string) string { return strings.Join(words, " ") }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
