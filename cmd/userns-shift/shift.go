package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

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
		Flags:     slices.Concat(maps.flags(autoUsage), work.flags(), work.progressFlags()),
		Action: maps.action(true, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			return work.run(ctx, stderr, root, pair, &maps, shift.Shift)
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
		Flags: slices.Concat(maps.flags(""), []cli.Flag{dropSetID, keepSetID},
			work.flags(), work.progressFlags()),
		Action: maps.action(false, func(ctx *cli.Context, root string, pair idmap.Pair) error {
			if work.DropSetID && work.KeepSetID {
				return cmdline.Usagef("--drop-setid and --keep-setid exclude each other")
			}
			return work.run(ctx, stderr, root, pair, &maps, shift.Unshift)
		}),
	}
}

func (o *workOptions) run(
	ctx *cli.Context, stderr io.Writer, root string, pair idmap.Pair, maps *mapOptions,
	change func(context.Context, string, idmap.Pair, shift.Options) (shift.Result, error),
) error {
	if err := maps.complete(ctx, o); err != nil {
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

// progressTo returns a function that shows the progress, nil for none, and one to call at the end.
func progressTo(w io.Writer, how string) (report func(shift.Progress), end func(), err error) {
	if how == "auto" {
		how = "none"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			how = "bar"
		}
	}
	switch how {
	case "none":
		return nil, func() {}, nil
	case "json":
		encoder := json.NewEncoder(cmdline.SafeJSONWriter(w))
		// A closed stderr does not stop the change.
		return func(p shift.Progress) { encoder.Encode(p) }, func() {}, nil
	case "bar":
		b := &bar{w: w}
		return b.report, b.end, nil
	}
	return nil, nil, choose("progress", how, "auto", "bar", "json", "none")
}

type bar struct {
	w    io.Writer
	pass string
	*progressbar.ProgressBar
}

func (b *bar) report(p shift.Progress) {
	if b.pass != p.Pass {
		b.end()
		b.pass = p.Pass
		total := int64(p.Total)
		if total == 0 {
			total = -1 // unknown
		}
		b.ProgressBar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription(p.Pass),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("files"),
			progressbar.OptionClearOnFinish())
	}
	b.Set64(int64(p.Done)) // a closed terminal does not stop the change
}

func (b *bar) end() {
	if b.ProgressBar != nil {
		b.Finish()
	}
}
