package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/remap"
	"palisade/internal/userns/shift"
)

func checkCommand() *cli.Command {
	var maps mapOptions
	var work workOptions
	var engine, graph string
	var asJSON bool
	own := []cli.Flag{
		&cli.StringFlag{Name: "engine", Destination: &engine,
			Usage: "check the directories of an engine, too: isulad"},
		&cli.StringFlag{Name: "graph", Value: "/var/lib/isulad", Destination: &graph,
			Usage: "the root directory of iSulad is `DIR`"},
		&cli.BoolFlag{Name: "json", Destination: &asJSON, Usage: "print JSON"},
	}
	return &cli.Command{
		Name: "check",
		Usage: "find all problems of a shift and of a container with the maps; change nothing " +
			"(exit code 1 if there are problems)",
		UsageText: "userns-shift check --user-remap UID:GID:OFFSET [OPTIONS] ROOT",
		Flags:     slices.Concat(maps.flags(autoUsage), own, work.flags()),
		Action: maps.action(true, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			if engine != "" && engine != "isulad" {
				return cmdline.Usagef("--engine %q is not isulad", engine)
			}
			work.DryRun = true
			if err := maps.complete(ctx, &work); err != nil {
				return err
			}
			if maps.isAuto {
				var err error
				if pair, err = shift.ChooseMaps(ctx.Context, root, work.Options); err != nil {
					return err
				}
			}
			problems, err := shift.Check(ctx.Context, root, pair, work.Options)
			if err == nil && engine != "" {
				var closed shift.Problems
				closed, err = closedGraph(graph, pair)
				problems = appendMissing(problems, closed)
			}
			if err == nil && maps.bundle != "" {
				var missing shift.Problems
				missing, err = remap.MissingMountPoints(maps.bundle, root, pair, work.Options)
				problems = append(problems, missing...)
			}
			if err != nil {
				return err
			}
			notes, err := noteReachable(root)
			if err != nil {
				return err
			}
			return printProblems(ctx, root, problems, notes, asJSON)
		}),
	}
}

// closedGraph returns the directories on the way to lcr's containers that a container's root cannot
// search. isulad creates engines/lcr with the first container, with the mode 0750.
func closedGraph(graph string, pair idmap.Pair) (shift.Problems, error) {
	lcr := filepath.Join(graph, "engines/lcr")
	if _, err := os.Stat(lcr); !errors.Is(err, fs.ErrNotExist) {
		return shift.ClosedAncestors(lcr, pair, true)
	}
	closed, err := shift.ClosedAncestors(graph, pair, true)
	return append(closed, shift.Problem{
		Text:   lcr + " does not exist: isulad will create it, closed to other users",
		Remedy: "mkdir -p -m 711 " + lcr,
	}), err
}

func appendMissing(problems, more shift.Problems) shift.Problems {
	for _, p := range more {
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	return problems
}

// noteReachable returns a note if other users of the host can reach a tree. That does not prevent a
// shift.
func noteReachable(root string) (notes shift.Problems, err error) {
	err = idmount.CheckPrivate(root, idmount.IgnoreLinks)
	if reachable, ok := errors.AsType[*idmount.ReachableError](err); ok {
		return shift.Problems{{
			Text: fmt.Sprintf("other users can reach %s: it cannot be idmapped, and they can execute "+
				"set-id programs of its container as the container's users", reachable.Path),
			Remedy: reachable.Remedy + ", and start the container with the runtime wrapper",
		}}, nil
	}
	return nil, err
}

func printProblems(
	ctx *cli.Context, root string, problems, notes shift.Problems, asJSON bool,
) error {
	w := ctx.App.Writer
	if asJSON {
		report := map[string]any{"root": root, "problems": append(shift.Problems{}, problems...),
			"notes": append(shift.Problems{}, notes...)}
		if err := json.NewEncoder(cmdline.SafeJSONWriter(w)).Encode(report); err != nil {
			return err
		}
	} else {
		var text strings.Builder
		if len(problems) == 0 {
			fmt.Fprintf(&text, "nothing stands in the way of %s\n", root)
		}
		for _, p := range problems {
			fmt.Fprintf(&text, "%s\n    remedy: %s\n", p.Text, p.Remedy)
		}
		for _, p := range notes {
			fmt.Fprintf(&text, "note: %s\n    remedy: %s\n", p.Text, p.Remedy)
		}
		if _, err := io.WriteString(w, text.String()); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return cli.Exit("", cmdline.ExitFailure)
	}
	return nil
}
