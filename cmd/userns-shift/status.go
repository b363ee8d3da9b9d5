package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/shift"
)

var statusCodes = map[shift.Kind]int{
	shift.IsNone: 0, shift.IsShifted: 0, shift.IsPartial: 3, shift.IsMixed: 4, shift.IsUnmarked: 5,
}

func statusCommand(stderr io.Writer) *cli.Command {
	var maps mapOptions
	var work workOptions
	var asJSON bool
	return &cli.Command{
		Name: "status",
		Usage: "print the state of a tree " +
			"(exit code 3 if partial, 4 if mixed, 5 if shifted without a record)",
		UsageText: "userns-shift status [OPTIONS] ROOT",
		Flags: slices.Concat(maps.flags(""), stateFlags(&work),
			[]cli.Flag{&cli.BoolFlag{Name: "json", Destination: &asJSON, Usage: "print JSON"}}),
		Action: maps.action(false, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			s, err := shift.ReadStatus(ctx.Context, root, pair, work.Options)
			if err != nil {
				return err
			}
			if err := printStatus(ctx, root, &s, asJSON); err != nil {
				return err
			}
			if s.Claim != nil {
				fmt.Fprintf(stderr, "%s: warning: record of %s is not trusted: %s\n",
					program, root, s.Claim)
			}
			if code := statusCodes[s.Kind]; code != 0 {
				return cli.Exit("", code)
			}
			return nil
		}),
	}
}

// stateFlags returns the options of commands that change nothing.
func stateFlags(o *workOptions) []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir,
		Destination: &o.StateDir,
		Usage: "read the host key and the records of file systems without trusted attributes " +
			"from `DIR`"}}
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
		Usage:     "check that all files of a shifted tree have shifted ids (exit code 1 if not)",
		UsageText: "userns-shift verify [OPTIONS] ROOT",
		Flags:     stateFlags(&work),
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			files, pair, err := shift.Verify(ctx.Context, root, work.Options)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(ctx.App.Writer, "all %d files match %s\n", files, pair)
			return err
		},
	}
}
