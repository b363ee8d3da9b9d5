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

	"palisade/internal/cmdline"
	"palisade/internal/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/remap"
	"palisade/internal/userns/shift"
)

// Exit codes of status.
var statusCodes = map[shift.Kind]int{
	shift.IsNone: 0, shift.IsShifted: 0, shift.IsPartial: 3, shift.IsMixed: 4, shift.IsUnmarked: 5,
}

func statusCommand(stderr io.Writer) *cli.Command {
	var maps mapOptions
	var work workOptions
	var asJSON bool
	return &cli.Command{
		Name:      "status",
		Usage:     "tell whether a tree is shifted, and to what (exit code 3 if partial, 4 if mixed, 5 if shifted without a record)",
		UsageText: "userns-shift status [OPTIONS] ROOT",
		Flags: slices.Concat(maps.flags(), stateFlags(&work),
			[]cli.Flag{&cli.BoolFlag{Name: "json", Destination: &asJSON, Usage: "print JSON"}}),
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			pair, err := maps.pair(ctx)
			if err != nil {
				return sayNoEffect(ctx, err)
			}
			s, err := shift.ReadStatus(ctx.Context, root, pair, work.Options)
			if err != nil {
				return err
			}
			if err := printStatus(ctx, root, &s, asJSON); err != nil {
				return err
			}
			if s.Claim != "" {
				fmt.Fprintf(stderr, "%s: warning: record of %s is not trusted: %s\n",
					program, root, s.Claim)
			}
			if code := statusCodes[s.Kind]; code != 0 {
				return cli.Exit("", code)
			}
			return nil
		},
	}
}

// stateFlags is the option that commands have which only look.
func stateFlags(o *workOptions) []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir, Destination: &o.StateDir,
		Usage: "read the host key, and records that a file system cannot hold, from `DIR`"}}
}

func printStatus(ctx *cli.Context, root string, s *shift.Status, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintln(ctx.App.Writer, s.Describe())
		return err
	}
	var pair idmap.Pair
	if s.State != nil {
		pair = s.State.Pair()
	}
	return json.NewEncoder(cmdline.SafeJSONWriter(ctx.App.Writer)).Encode(struct {
		Root   string     `json:"root"`
		Status shift.Kind `json:"status"`
		UIDs   string     `json:"uids,omitempty"`
		GIDs   string     `json:"gids,omitempty"`
	}{root, s.Kind, pair.UID.String(), pair.GID.String()})
}

func verifyCommand() *cli.Command {
	var work workOptions
	return &cli.Command{
		Name:      "verify",
		Usage:     "look whether all files of a shifted tree have the ids that they are to have (exit code 1 if not)",
		UsageText: "userns-shift verify [OPTIONS] ROOT",
		Flags:     stateFlags(&work),
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			v, err := shift.Verify(ctx.Context, root, work.Options)
			if err != nil {
				return err
			}
			if v.Wrong > 0 {
				return fmt.Errorf("%s: %d of %d files do not match %s: %s%s",
					root, v.Wrong, v.Files, v.Pair, v.Examples, verifyDetail(&v))
			}
			_, err = fmt.Fprintf(ctx.App.Writer, "all %d files match %s\n", v.Files, v.Pair)
			return err
		},
	}
}

// verifyDetail lists the uids, then the gids, that the maps of the tree do not have. Without such
// ids another shift mends the tree.
func verifyDetail(v *shift.Verification) (text string) {
	if v.UIDs != "" {
		text += "; uids that are not mapped: " + v.UIDs
	}
	if v.GIDs != "" {
		text += "; gids that are not mapped: " + v.GIDs
	}
	if text == "" {
		return " (shift again)"
	}
	return text
}

func checkCommand() *cli.Command {
	var maps mapOptions
	var work workOptions
	var engine, graph string
	var asJSON bool
	own := []cli.Flag{
		&cli.StringFlag{Name: "engine", Destination: &engine, Usage: "look at the folders of an engine, too: isulad"},
		&cli.StringFlag{Name: "graph", Value: "/var/lib/isulad", Destination: &graph, Usage: "iSulad's root folder is `DIR`"},
		&cli.BoolFlag{Name: "json", Destination: &asJSON, Usage: "print JSON"},
	}
	return &cli.Command{
		Name:      "check",
		Usage:     "find all that stands in the way of a shift, and of a container with the maps; nothing is changed (exit code 1 if there is anything)",
		UsageText: "userns-shift check --user-remap UID:GID:OFFSET [OPTIONS] ROOT",
		Flags:     slices.Concat(maps.flags(), own, work.flags()),
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			if engine != "" && engine != "isulad" {
				return cmdline.Usagef("--engine %q is not isulad", engine)
			}
			pair, err := maps.needed(ctx)
			if err != nil {
				return sayNoEffect(ctx, err)
			}
			if _, err := work.complete(ctx, nil); err != nil {
				return err
			}
			problems, err := shift.Check(ctx.Context, root, pair, work.Options)
			if err == nil && engine != "" {
				var closed shift.Problems
				closed, err = closedGraph(graph, pair)
				problems = appendNew(problems, closed)
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
		},
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

// appendNew appends those that are not there yet.
func appendNew(problems, more shift.Problems) shift.Problems {
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
	err = idmount.CheckPrivate(root)
	var reachable *idmount.ReachableError
	if errors.As(err, &reachable) {
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
	var text strings.Builder
	if asJSON {
		report := map[string]any{"root": root, "problems": append(shift.Problems{}, problems...),
			"notes": append(shift.Problems{}, notes...)}
		if err := json.NewEncoder(cmdline.SafeJSONWriter(&text)).Encode(report); err != nil {
			return err
		}
	} else {
		if len(problems) == 0 {
			fmt.Fprintf(&text, "nothing stands in the way of %s\n", root)
		}
		for _, p := range problems {
			fmt.Fprintf(&text, "%s\n    remedy: %s\n", p.Text, p.Remedy)
		}
		for _, p := range notes {
			fmt.Fprintf(&text, "note: %s\n    remedy: %s\n", p.Text, p.Remedy)
		}
	}
	if _, err := io.WriteString(ctx.App.Writer, text.String()); err != nil {
		return err
	}
	if len(problems) > 0 {
		return cli.Exit("", cmdline.ExitFailure)
	}
	return nil
}
