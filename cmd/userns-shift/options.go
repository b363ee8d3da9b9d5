package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/shift"
)

// mapOptions are the options that select maps.
type mapOptions struct {
	remap, bundle string
	uids, gids    cli.StringSlice
	pid           int
}

func (o *mapOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "user-remap", Destination: &o.remap,
			Usage: "map the container's ids from 0 to offset-1 to the host's from uid and gid on: " +
				"`UID:GID:OFFSET`"},
		&cli.StringSliceFlag{Name: "uidmap", Destination: &o.uids,
			Usage: "map uids: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringSliceFlag{Name: "gidmap", Destination: &o.gids,
			Usage: "map gids: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringFlag{Name: "bundle", Destination: &o.bundle,
			Usage: "use the maps of the config.json in `DIR`"},
		&cli.IntFlag{Name: "pid", Destination: &o.pid, Usage: "use the maps of the process `PID`"},
	}
}

// errNoEffect is the error for a user remap without effect.
var errNoEffect = errors.New("no effect")

// pair returns the selected maps, zero maps if there are none.
func (o *mapOptions) pair(ctx *cli.Context) (idmap.Pair, error) {
	hasMaps := ctx.IsSet("uidmap") || ctx.IsSet("gidmap")
	given := 0
	for _, isSet := range []bool{
		ctx.IsSet("user-remap"), hasMaps, ctx.IsSet("bundle"), ctx.IsSet("pid"),
	} {
		if isSet {
			given++
		}
	}
	switch {
	case given > 1:
		return idmap.Pair{},
			cmdline.Usagef("only one of --user-remap, --uidmap with --gidmap, --bundle " +
				"and --pid can be given")
	case ctx.IsSet("user-remap"):
		r, err := idmap.ParseRemap(o.remap)
		if err != nil {
			return idmap.Pair{}, cmdline.UsageError{Err: err}
		}
		if !r.HasEffect() {
			return idmap.Pair{}, errNoEffect
		}
		return r.Pair(), nil
	case hasMaps:
		return o.maps()
	case ctx.IsSet("bundle"):
		return oci.BundleMaps(o.bundle)
	case ctx.IsSet("pid"):
		return oci.ProcessMaps(o.pid)
	}
	return idmap.Pair{}, nil
}

func (o *mapOptions) maps() (p idmap.Pair, err error) {
	for _, m := range []struct {
		flag  string
		given []string
		to    *idmap.Map
	}{{"--uidmap", o.uids.Value(), &p.UID}, {"--gidmap", o.gids.Value(), &p.GID}} {
		for _, text := range m.given {
			e, err := idmap.ParseExtent(text)
			if err != nil {
				return p, cmdline.Usagef("%s: %w", m.flag, err)
			}
			*m.to = append(*m.to, e)
		}
	}
	if len(p.UID) == 0 || len(p.GID) == 0 {
		return p, cmdline.Usagef("--uidmap and --gidmap belong together")
	}
	if err := p.Check(); err != nil {
		return p, cmdline.UsageError{Err: err}
	}
	return p, nil
}

// required returns the selected maps, or an error if there are none.
func (o *mapOptions) required(ctx *cli.Context) (idmap.Pair, error) {
	pair, err := o.pair(ctx)
	if err == nil && pair.IsZero() {
		err = cmdline.Usagef("the maps are missing: give --user-remap, --uidmap with --gidmap, " +
			"--bundle or --pid")
	}
	return pair, err
}

// reportNoEffect prints a message for errNoEffect and returns nil. It returns other errors
// unchanged.
func reportNoEffect(ctx *cli.Context, err error) error {
	if !errors.Is(err, errNoEffect) {
		return err
	}
	_, err = fmt.Fprintf(ctx.App.Writer,
		"user remap %s has no effect, since its uid or gid is 0; nothing is done\n",
		ctx.String("user-remap"))
	return err
}

// workOptions are the options for shift.Options.
type workOptions struct {
	shift.Options
	unmapped, immutable, hardLinks, caps, progress string
	lockTimeout                                    float64
}

func (o *workOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "jobs", Destination: &o.Jobs,
			Usage: "change `N` files at once (default: one for each processor, at most 8)"},
		&cli.StringFlag{Name: "unmapped", Value: "fail", Destination: &o.unmapped,
			Usage: "unmapped ids: fail, keep, or replace by the container's id ID (squash=ID)"},
		&cli.StringFlag{Name: "immutable", Value: "fail", Destination: &o.immutable,
			Usage: "immutable or append-only files: fail, skip, or clear the flags during the change"},
		&cli.StringFlag{Name: "hardlinks", Value: "fail", Destination: &o.hardLinks,
			Usage: "files with names outside the tree: fail or ignore"},
		&cli.StringFlag{Name: "caps", Value: "v3", Destination: &o.caps,
			Usage: "file capabilities: valid in the container (v3), also on the host (v2), or dropped"},
		&cli.BoolFlag{Name: "allow-copyup", Destination: &o.AllowCopyUp,
			Usage: "change an overlay although that copies all files to its upper layer"},
		&cli.BoolFlag{Name: "force", Destination: &o.Force,
			Usage: "continue even if processes of other users are in the tree, or have it as their root"},
		&cli.Float64Flag{Name: "lock-timeout", Value: 60, Destination: &o.lockTimeout,
			Usage: "wait `SECONDS` for another process that works on the tree"},
		&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir, Destination: &o.StateDir,
			Usage: "keep the host key and the records of file systems without trusted attributes " +
				"in `DIR`"},
		&cli.StringFlag{Name: "lock-dir", Value: shift.DefaultLockDir, Destination: &o.LockDir,
			Usage: "keep locks in `DIR`", Hidden: true},
	}
}

func (o *workOptions) progressFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Destination: &o.DryRun,
			Usage: "check all files and print how many would be changed"},
		&cli.StringFlag{Name: "progress", Value: "auto", Destination: &o.progress,
			Usage: "show the progress on stderr: bar, json, none, or auto for a bar on a terminal"},
	}
}

// complete sets Options, and fails if an option is invalid. The caller must call end.
func (o *workOptions) complete(ctx *cli.Context, stderr io.Writer) (end func(), err error) {
	choose := func(flag, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return cmdline.Usagef("--%s %q is none of %s", flag, value, strings.Join(allowed, ", "))
	}
	if id, ok := strings.CutPrefix(o.unmapped, "squash="); ok {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || n > idmap.Max {
			return nil, cmdline.Usagef("--unmapped %q: %q is no id from 0 to %d", o.unmapped, id,
				uint32(idmap.Max))
		}
		o.SquashTo, o.Unmapped = uint32(n), shift.Squash
	} else if o.unmapped != "fail" && o.unmapped != "keep" {
		return nil, cmdline.Usagef("--unmapped %q is none of fail, keep, squash=ID", o.unmapped)
	} else {
		o.Unmapped = shift.Policy(o.unmapped)
	}
	for _, err := range []error{
		choose("immutable", o.immutable, "fail", "skip", "clear"),
		choose("hardlinks", o.hardLinks, "fail", "ignore"),
		choose("caps", o.caps, "v3", "v2", "drop"),
	} {
		if err != nil {
			return nil, err
		}
	}
	o.Immutable, o.HardLinks = shift.Policy(o.immutable), shift.Policy(o.hardLinks)
	o.Caps = shift.CapsPolicy(o.caps)
	switch {
	case ctx.IsSet("jobs") && (o.Jobs < 1 || o.Jobs > maxJobs):
		return nil, cmdline.Usagef("--jobs %d is not between 1 and %d", o.Jobs, maxJobs)
	case !(o.lockTimeout >= 0 && o.lockTimeout <= maxWait.Seconds()):
		return nil, cmdline.Usagef("--lock-timeout %v is not between 0 and %v seconds", o.lockTimeout,
			maxWait.Seconds())
	case !filepath.IsAbs(o.StateDir):
		return nil, cmdline.Usagef("--state-dir %q is not an absolute path", o.StateDir)
	}
	o.LockTimeout = time.Duration(o.lockTimeout * float64(time.Second))
	o.Options.Progress, end, err = progressTo(stderr, o.progress)
	return end, err
}

const (
	maxJobs = 256
	maxWait = 24 * time.Hour
)

// rootArgument returns ROOT, the only argument of a command.
func rootArgument(ctx *cli.Context) (string, error) {
	switch ctx.NArg() {
	case 0:
		return "", cmdline.Usagef("ROOT is missing")
	case 1:
		if ctx.Args().First() == "" {
			return "", cmdline.Usagef(`ROOT "" is not the path of a directory`)
		}
		return ctx.Args().First(), nil
	}
	return "", cmdline.Usagef("argument %q is one too many: only ROOT is expected", ctx.Args().Get(1))
}
