package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/userns/ranges"
	"palisade/internal/userns/shift"
)

type rangesOptions struct {
	workOptions
	size, first           string
	asJSON, force, unused bool
}

// rangesActions are the actions of ranges, each with its number of arguments and its options.
var rangesActions = map[string]struct {
	min, max int
	options  []string
	run      func(*rangesOptions, *cli.Context, *ranges.Registry, []string) error
}{
	"list":    {0, 0, []string{"json"}, (*rangesOptions).list},
	"check":   {0, 0, []string{"json"}, (*rangesOptions).check},
	"reserve": {1, 1, []string{"size", "first"}, (*rangesOptions).reserve},
	"free":    {0, 1, []string{"force", "unused"}, (*rangesOptions).free},
}

func rangesCommand() *cli.Command {
	var o rangesOptions
	own := []cli.Flag{
		&cli.BoolFlag{Name: "json", Destination: &o.asJSON, Usage: "list, check: print JSON"},
		&cli.StringFlag{Name: "size", Destination: &o.size,
			Usage: "reserve: the number of ids is `SIZE`, at most 65536 " +
				"(default: the one in the configuration)"},
		&cli.StringFlag{Name: "first", Destination: &o.first,
			Usage: "reserve: the first id is `ID`, a multiple of 65536 (default: any that is free)"},
		&cli.BoolFlag{Name: "unused", Destination: &o.unused,
			Usage: "free: all ranges of ended containers and deleted trees"},
		&cli.BoolFlag{Name: "force", Destination: &o.force,
			Usage: "free: even if the range is, or may be, in use"},
		&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir, Destination: &o.StateDir,
			Usage: "the registry is in `DIR`"},
	}
	return &cli.Command{
		Name:      "ranges",
		Usage:     "show and change the ranges of ids that --user-remap auto has allocated",
		UsageText: "userns-shift ranges list|check|reserve NAME|free FIRST [OPTIONS]",
		Description: "list prints all ranges: the owner, since when, and what uses it. check finds " +
			"ranges with ids of other users of the host (exit code 1 if there are any). reserve NAME " +
			"takes a range for another program, and prints it as UID:GID:OFFSET. free FIRST frees the " +
			"range that begins with the id FIRST, unless it is in use.",
		Flags: append(own, o.registryFlags()...),
		Action: func(ctx *cli.Context) error {
			action, ok := rangesActions[ctx.Args().First()]
			args := ctx.Args().Tail()
			switch {
			case ctx.NArg() == 0:
				return cmdline.Usagef("ACTION is missing: want list, check, reserve or free")
			case !ok:
				return cmdline.Usagef("action %q is none of list, check, reserve, free",
					ctx.Args().First())
			case len(args) < action.min:
				return cmdline.Usagef("%s: NAME is missing", ctx.Args().First())
			case len(args) > action.max:
				return cmdline.Usagef("%s: argument %q is one too many", ctx.Args().First(),
					args[action.max])
			}
			for _, name := range []string{"json", "size", "first", "unused", "force"} {
				if ctx.IsSet(name) && !slices.Contains(action.options, name) {
					return cmdline.Usagef("%s does not take --%s", ctx.Args().First(), name)
				}
			}
			registry, err := o.registry()
			if err != nil {
				return err
			}
			return action.run(&o, ctx, registry, args)
		},
	}
}

// rangeJSON is a range in JSON.
type rangeJSON struct {
	First    uint32      `json:"first"`
	Size     uint32      `json:"size"`
	Kind     ranges.Kind `json:"kind"`
	Owner    string      `json:"owner"`
	Machine  string      `json:"machine"`
	Since    time.Time   `json:"since"`
	Use      ranges.Use  `json:"use"`
	Reason   string      `json:"reason"`
	Conflict string      `json:"conflict,omitempty"`
}

func writeRanges(w io.Writer, listed []ranges.Listed, asJSON bool) error {
	if asJSON {
		report := make([]rangeJSON, len(listed))
		for i, l := range listed {
			report[i] = rangeJSON{l.First, l.Size, l.Kind, l.Owner, l.Machine, l.Time().UTC(), l.Use,
				l.Reason, l.Conflict}
		}
		return json.NewEncoder(cmdline.SafeJSONWriter(w)).Encode(report)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RANGE\tKIND\tOWNER\tSINCE\tUSE\tREASON")
	for _, l := range listed {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Remap(), l.Kind, cmdline.OneLine(l.Owner),
			l.Time().Format(time.DateTime), l.Use, cmdline.OneLine(l.Reason))
	}
	return table.Flush()
}

func (o *rangesOptions) list(ctx *cli.Context, r *ranges.Registry, _ []string) error {
	listed, err := r.ListStatus()
	if err != nil {
		return err
	}
	return writeRanges(ctx.App.Writer, listed, o.asJSON)
}

func (o *rangesOptions) check(ctx *cli.Context, r *ranges.Registry, _ []string) error {
	listed, err := r.ListStatus()
	if err != nil {
		return err
	}
	all := len(listed)
	listed = slices.DeleteFunc(listed, func(l ranges.Listed) bool { return l.Conflict == "" })
	if o.asJSON {
		err = writeRanges(ctx.App.Writer, listed, true)
	} else {
		var text strings.Builder
		for _, l := range listed {
			fmt.Fprintf(&text, "range %s of %s %s: %s\n", l.Remap(), l.Kind, cmdline.OneLine(l.Owner),
				cmdline.OneLine(l.Conflict))
		}
		if len(listed) == 0 {
			fmt.Fprintf(&text, "no other user of the host has an id of the %d ranges\n", all)
		}
		_, err = io.WriteString(ctx.App.Writer, text.String())
	}
	if err == nil && len(listed) > 0 {
		err = cli.Exit("", cmdline.ExitFailure)
	}
	return err
}

func (o *rangesOptions) reserve(ctx *cli.Context, r *ranges.Registry, args []string) error {
	if args[0] == "" {
		return cmdline.Usagef(`NAME "" is empty`)
	}
	q := ranges.Request{Registry: r}
	var err error
	if o.size != "" {
		if q.Size, err = ranges.ParseSize(o.size); err != nil {
			return cmdline.Usagef("--size: %w", err)
		}
	}
	var first uint64
	if ctx.IsSet("first") {
		if first, err = strconv.ParseUint(o.first, 10, 32); err != nil || first == 0 {
			return cmdline.Usagef("--first %q is no id from 65536 on", o.first)
		}
	}
	e, err := q.Reserve(ctx.Context, args[0], uint32(first))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(ctx.App.Writer, e.Remap())
	return err
}

func (o *rangesOptions) free(ctx *cli.Context, r *ranges.Registry, args []string) (err error) {
	if o.unused == (len(args) > 0) || o.unused && o.force {
		return cmdline.Usagef("free: want FIRST, the first id of a range, or --unused")
	}
	var freed []*ranges.Entry
	if o.unused {
		freed, err = r.Collect(ctx.Context)
	} else {
		var first uint64
		if first, err = strconv.ParseUint(args[0], 10, 32); err != nil {
			return cmdline.Usagef("FIRST %q is no id", args[0])
		}
		var e *ranges.Entry
		if e, err = r.Free(ctx.Context, uint32(first), o.force); err == nil {
			freed = append(freed, e)
		}
	}
	for _, e := range freed {
		fmt.Fprintf(ctx.App.Writer, "%s of %s %s is free\n", e.Remap(), e.Kind, cmdline.OneLine(e.Owner))
	}
	return err
}
