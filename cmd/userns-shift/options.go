package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/ranges"
	"palisade/internal/userns/shift"
)

type mapOptions struct {
	remap, bundle string
	uids, gids    cli.StringSlice
	pid           int
	// isAuto reports whether the maps are those of a range of the registry, of autoSize ids.
	isAuto   bool
	autoSize uint32
}

// autoUsage is the help about ranges, for commands that allocate them.
const autoUsage = "; auto or auto:SIZE: to a range that nothing else on the host has"

// flags returns the options. remapUsage is more help about --user-remap.
func (o *mapOptions) flags(remapUsage string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "user-remap", Destination: &o.remap,
			Usage: "map the container's ids from 0 to offset-1 to the host's from uid and gid on: " +
				"`UID:GID:OFFSET`" + remapUsage},
		&cli.StringSliceFlag{Name: "uidmap", Destination: &o.uids,
			Usage: "map uids: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringSliceFlag{Name: "gidmap", Destination: &o.gids,
			Usage: "map gids: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringFlag{Name: "bundle", Destination: &o.bundle,
			Usage: "use the maps of the config.json in `DIR`"},
		&cli.IntFlag{Name: "pid", Destination: &o.pid, Usage: "use the maps of the process `PID`"},
	}
}

var errNoEffect = errors.New("no effect")

// pair returns the selected maps, zero maps if there are none.
func (o *mapOptions) pair(ctx *cli.Context) (idmap.Pair, error) {
	var selected []string
	for _, name := range []string{"user-remap", "uidmap", "bundle", "pid"} {
		if ctx.IsSet(name) || name == "uidmap" && ctx.IsSet("gidmap") {
			selected = append(selected, name)
		}
	}
	if len(selected) > 1 {
		return idmap.Pair{}, cmdline.Usagef("only one of --user-remap, --uidmap with --gidmap, " +
			"--bundle and --pid can be given")
	}
	switch strings.Join(selected, "") {
	case "user-remap":
		return o.remapMaps()
	case "uidmap":
		return o.maps()
	case "bundle":
		return oci.BundleMaps(o.bundle)
	case "pid":
		return oci.ProcessMaps(o.pid)
	}
	return idmap.Pair{}, nil
}

// remapMaps returns zero maps for a range of the registry.
func (o *mapOptions) remapMaps() (p idmap.Pair, err error) {
	wanted, err := ranges.ParseRemap(o.remap)
	if err != nil {
		return p, cmdline.UsageError{Err: err}
	}
	if o.autoSize, o.isAuto = wanted.Size, wanted.IsAuto; o.isAuto {
		return p, nil
	}
	if !wanted.HasEffect() {
		return p, errNoEffect
	}
	return wanted.Pair(), nil
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

// withMaps calls do with the selected maps. These are zero maps if none are selected and none are
// required. It prints a message instead if they have no effect.
func (o *mapOptions) withMaps(
	ctx *cli.Context, isRequired bool, do func(idmap.Pair) error,
) error {
	pair, err := o.pair(ctx)
	switch {
	case errors.Is(err, errNoEffect):
		_, err = fmt.Fprintf(ctx.App.Writer,
			"user remap %s has no effect, since its uid or gid is 0; nothing is done\n", o.remap)
		return err
	case err != nil:
		return err
	case o.isAuto && !isRequired:
		return cmdline.Usagef("--user-remap %s: want none, the maps are recorded with the tree", o.remap)
	case isRequired && pair.IsZero() && !o.isAuto:
		return cmdline.Usagef("the maps are missing: give --user-remap, --uidmap with --gidmap, " +
			"--bundle or --pid")
	}
	return do(pair)
}

// action returns the action of a command whose argument is ROOT. See withMaps.
func (o *mapOptions) action(
	isRequired bool, do func(ctx *cli.Context, root string, pair idmap.Pair) error,
) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		root, err := rootArgument(ctx)
		if err != nil {
			return err
		}
		return o.withMaps(ctx, isRequired, func(pair idmap.Pair) error { return do(ctx, root, pair) })
	}
}

// complete completes the options of the work, after withMaps has been called.
func (o *mapOptions) complete(ctx *cli.Context, work *workOptions) error {
	if err := work.complete(ctx); err != nil || !o.isAuto {
		return err
	}
	registry, err := work.registry()
	work.Range = &ranges.Request{Registry: registry, Size: o.autoSize, DryRun: work.DryRun}
	return err
}

// choose returns a usage error unless the value of an option is one of those allowed.
func choose(option, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return cmdline.Usagef("--%s %q is none of %s", option, value, strings.Join(allowed, ", "))
}

type workOptions struct {
	shift.Options
	progress, rangesConfig string
	lockTimeout            float64
}

func (o *workOptions) registry() (*ranges.Registry, error) {
	return ranges.Open(ranges.Dirs{State: o.StateDir, Lock: o.LockDir,
		Config: o.rangesConfig})
}

// registryFlags are the directories of the registry of ranges, for tests.
func (o *workOptions) registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "lock-dir", Value: shift.DefaultLockDir, Destination: &o.LockDir,
			Usage: "keep locks in `DIR`", Hidden: true},
		&cli.StringFlag{Name: "ranges-config", Value: ranges.DefaultConfig,
			Destination: &o.rangesConfig, Usage: "the configuration of ranges is `FILE`", Hidden: true},
	}
}

func (o *workOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.IntFlag{Name: "jobs", Destination: &o.Jobs,
			Usage: "change `N` files at once (default: one for each processor, at most 8)"},
		&cli.StringFlag{Name: "unmapped", Value: "fail", Destination: &o.Unmapped,
			Usage: "unmapped ids: fail, keep, or replace by the container's id ID (squash=ID)"},
		&cli.StringFlag{Name: "immutable", Value: "fail", Destination: &o.Immutable,
			Usage: "immutable or append-only files: fail, skip, or clear the flags during the change"},
		&cli.StringFlag{Name: "hardlinks", Value: "fail", Destination: &o.HardLinks,
			Usage: "files with names outside the tree: fail or ignore"},
		&cli.StringFlag{Name: "caps", Value: "v3", Destination: &o.Caps,
			Usage: "file capabilities: valid in the container (v3), also on the host (v2), or dropped"},
		&cli.BoolFlag{Name: "allow-copyup", Destination: &o.AllowCopyUp,
			Usage: "change an overlay although that copies all files to its upper layer"},
		&cli.BoolFlag{Name: "force", Destination: &o.Force,
			Usage: "continue even if processes of other users are in the tree, or have it as their root"},
		&cli.Float64Flag{Name: "lock-timeout", Value: 60, Destination: &o.lockTimeout,
			Usage: "wait `SECONDS` for another process that works on the tree"},
		&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir, Destination: &o.StateDir,
			Usage: "keep the host key, ranges, and the records of file systems without trusted " +
				"attributes in `DIR`"},
	}, o.registryFlags()...)
}

func (o *workOptions) progressFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Destination: &o.DryRun,
			Usage: "check all files and print how many would be changed"},
		&cli.StringFlag{Name: "progress", Value: "auto", Destination: &o.progress,
			Usage: "show the progress on stderr: bar, json, none, or auto for a bar on a terminal"},
	}
}

// complete sets Options, and fails if an option is invalid.
func (o *workOptions) complete(ctx *cli.Context) error {
	if id, ok := strings.CutPrefix(o.Unmapped, "squash="); ok {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || n > idmap.Max {
			return cmdline.Usagef("--unmapped %q: %q is no id from 0 to %d", o.Unmapped, id,
				uint32(idmap.Max))
		}
		o.SquashTo, o.Unmapped = uint32(n), shift.Squash
	} else if err := choose("unmapped", o.Unmapped, shift.Fail, shift.Keep, "squash=ID"); err != nil {
		return err
	}
	err := cmp.Or(choose("immutable", o.Immutable, shift.Fail, shift.Skip, shift.Clear),
		choose("hardlinks", o.HardLinks, shift.Fail, shift.Ignore),
		choose("caps", o.Caps, shift.CapsV3, shift.CapsV2, shift.CapsDrop))
	if err != nil {
		return err
	}
	switch {
	case ctx.IsSet("jobs") && (o.Jobs < 1 || o.Jobs > maxJobs):
		return cmdline.Usagef("--jobs %d is not between 1 and %d", o.Jobs, maxJobs)
	case !(o.lockTimeout >= 0 && o.lockTimeout <= maxWait.Seconds()):
		return cmdline.Usagef("--lock-timeout %v is not between 0 and %v seconds", o.lockTimeout,
			maxWait.Seconds())
	case !filepath.IsAbs(o.StateDir):
		return cmdline.Usagef("--state-dir %q is not an absolute path", o.StateDir)
	}
	o.LockTimeout = time.Duration(o.lockTimeout * float64(time.Second))
	return nil
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
