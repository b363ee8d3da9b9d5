package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
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
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			pair, err := maps.required(ctx)
			if err != nil {
				return reportNoEffect(ctx, err)
			}
			return work.run(ctx, stderr, func(ctx context.Context, o shift.Options) (shift.Result, error) {
				return shift.Shift(ctx, root, pair, o)
			})
		},
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
		Action: func(ctx *cli.Context) error {
			root, err := rootArgument(ctx)
			if err != nil {
				return err
			}
			if work.DropSetID && work.KeepSetID {
				return cmdline.Usagef("--drop-setid and --keep-setid exclude each other")
			}
			pair, err := maps.pair(ctx)
			if err != nil {
				return reportNoEffect(ctx, err)
			}
			return work.run(ctx, stderr, func(ctx context.Context, o shift.Options) (shift.Result, error) {
				return shift.Unshift(ctx, root, pair, o)
			})
		},
	}
}

// gcBallast delays the first garbage collections, which are a thirtieth of the time of a shift of
// 100,000 files. It is never written to, so it takes no memory. With gcPercent, a million files
// still need less than 64 MiB.
const (
	gcBallast = 16 << 20
	gcPercent = 50
)

// run calls change and prints its result.
func (o *workOptions) run(
	ctx *cli.Context, stderr io.Writer,
	change func(context.Context, shift.Options) (shift.Result, error),
) error {
	end, err := o.complete(ctx, stderr)
	if err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	ballast := make([]byte, gcBallast)
	result, err := change(ctx.Context, o.Options)
	runtime.KeepAlive(ballast)
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
