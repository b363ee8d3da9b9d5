package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/shift"
)

func shiftCommand(stderr io.Writer) *cli.Command {
	var maps mapOptions
	var work workOptions
	return &cli.Command{
		Name:      "shift",
		Usage:     "change the ids of all files from the container's to the host's, or resume that",
		UsageText: "userns-shift shift --user-remap UID:GID:OFFSET [OPTIONS] ROOT",
		Flags:     slices.Concat(maps.flags(), work.flags(), work.progressFlags()),
		Action: maps.action(true, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			return work.run(ctx, stderr, root, pair, shift.Shift)
		}),
	}
}

func unshiftCommand(stderr io.Writer) *cli.Command {
	var maps mapOptions
	var work workOptions
	dropSetID := &cli.BoolFlag{Name: "drop-setid", Destination: &work.DropSetID,
		Usage: "remove set-id bits and file capabilities, " +
			"so that no program of the container becomes a privileged program of the host"}
	keepSetID := &cli.BoolFlag{Name: "keep-setid", Destination: &work.KeepSetID,
		Usage: "keep set-id bits and file capabilities " +
			"even if other users of the host can reach the tree"}
	return &cli.Command{
		Name:      "unshift",
		Usage:     "change the ids of all files back to the container's, or resume that",
		UsageText: "userns-shift unshift [OPTIONS] ROOT",
		Flags: slices.Concat(maps.flags(), []cli.Flag{dropSetID, keepSetID},
			work.flags(), work.progressFlags()),
		Action: maps.action(false, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			if work.DropSetID && work.KeepSetID {
				return cmdline.Usagef("--drop-setid and --keep-setid exclude each other")
			}
			return work.run(ctx, stderr, root, pair, shift.Unshift)
		}),
	}
}

func (o *workOptions) run(
	ctx *cli.Context, stderr io.Writer, root string, pair idmap.Pair,
	change func(context.Context, string, idmap.Pair, shift.Options) (shift.Result, error),
) error {
	if err := o.complete(ctx); err != nil {
		return err
	}
	report, end, err := progressTo(stderr, o.progress)
	if err != nil {
		return err
	}
	o.Progress = report
	result, err := change(ctx.Context, root, pair, o.Options)
	end()
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(stderr, "%s: warning: %s\n", program, warning)
	}
	verb := "changed"
	if o.DryRun {
		verb = "would change"
	}
	after := "not shifted"
	if result.State != nil {
		after = (&shift.Status{Kind: shift.Kind(result.State.Phase), State: result.State}).Describe()
	}
	_, err = fmt.Fprintf(ctx.App.Writer, "%s %d of %d files: %s\n", verb, result.Changed, result.Files,
		after)
	return err
}
