package options

import (
	"encoding/json"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
)

// Print writes a result as JSON with --json, or else as a table, whose columns write separates by
// tabs.
func (g *Global) Print(w io.Writer, result any, write func(io.Writer)) error {
	if g.JSON {
		encoder := json.NewEncoder(cmdline.SafeJSONWriter(w))
		encoder.SetEscapeHTML(false) // it contains commands, which users copy
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	write(table)
	return table.Flush()
}

// JSONFlag returns the global option --json as an option of a command.
func (g *Global) JSONFlag() cli.Flag {
	set := func(_ *cli.Context, wanted bool) error {
		g.JSON = g.JSON || wanted
		return nil
	}
	return &cli.BoolFlag{Name: "json", Usage: "print the result as JSON", Action: set}
}
