package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/idmap"
	"palisade/internal/oci"
	"palisade/internal/userns/shift"
)

// mapOptions say which maps are meant.
type mapOptions struct {
	remap, bundle string
	uids, gids    cli.StringSlice
	pid           int
}

func (o *mapOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "user-remap", Destination: &o.remap,
			Usage: "the container's ids from 0 to offset-1 are the host's from uid, and gid, on: `UID:GID:OFFSET`"},
		&cli.StringSliceFlag{Name: "uidmap", Destination: &o.uids, Usage: "uids of the container: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringSliceFlag{Name: "gidmap", Destination: &o.gids, Usage: "gids of the container: `CONTAINER:HOST:SIZE`, may be repeated"},
		&cli.StringFlag{Name: "bundle", Destination: &o.bundle, Usage: "the maps of the config.json in `DIR`"},
		&cli.IntFlag{Name: "pid", Destination: &o.pid, Usage: "the maps of the process `PID`"},
	}
}

// errNoEffect is for a user remap that has no effect.
var errNoEffect = errors.New("no effect")

// pair are the maps that are meant, zero maps if none are given.
func (o *mapOptions) pair(ctx *cli.Context) (idmap.Pair, error) {
	hasMaps := ctx.IsSet("uidmap") || ctx.IsSet("gidmap")
	given := 0
	for _, is := range []bool{ctx.IsSet("user-remap"), hasMaps, ctx.IsSet("bundle"), ctx.IsSet("pid")} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return idmap.Pair{}, cmdline.Usagef("only one of --user-remap, --uidmap with --gidmap, --bundle and --pid can be given")
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

// needed are the maps, which must be given.
func (o *mapOptions) needed(ctx *cli.Context) (idmap.Pair, error) {
	pair, err := o.pair(ctx)
	if err == nil && pair.IsZero() {
		err = cmdline.Usagef("the maps are missing: give --user-remap, --uidmap with --gidmap, --bundle or --pid")
	}
	return pair, err
}

// sayNoEffect ends a command quietly whose user remap has no effect.
func sayNoEffect(ctx *cli.Context, err error) error {
	if !errors.Is(err, errNoEffect) {
		return err
	}
	_, err = fmt.Fprintf(ctx.App.Writer, "user remap %s has no effect, since its uid or gid is 0; nothing is done\n", ctx.String("user-remap"))
	return err
}

// workOptions say how the work is done.
type workOptions struct {
	shift.Options
	unmapped, immutable, hardLinks, caps, progress string
	lockTimeout                                    float64
}

func (o *workOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "jobs", Destination: &o.Jobs, Usage: "work on `N` files at once (default: one for each processor, at most 8)"},
		&cli.StringFlag{Name: "unmapped", Value: "fail", Destination: &o.unmapped,
			Usage: "what becomes of ids that are not mapped: fail, keep, or squash=ID, an id of the container"},
		&cli.StringFlag{Name: "immutable", Value: "fail", Destination: &o.immutable,
			Usage: "what is done about files that are immutable or append-only: fail, skip, or clear for as long as it takes"},
		&cli.StringFlag{Name: "hardlinks", Value: "fail", Destination: &o.hardLinks,
			Usage: "what is done about files with other names outside of the tree: fail or ignore"},
		&cli.StringFlag{Name: "caps", Value: "v3", Destination: &o.caps,
			Usage: "file capabilities are valid in the container (v3), on the host, too (v2), or dropped (drop)"},
		&cli.BoolFlag{Name: "allow-copyup", Destination: &o.AllowCopyUp, Usage: "change an overlay, though all its files are copied"},
		&cli.BoolFlag{Name: "force", Destination: &o.Force,
			Usage: "continue even if processes of other users are in the tree, or have it as their root"},
		&cli.Float64Flag{Name: "lock-timeout", Value: 60, Destination: &o.lockTimeout,
			Usage: "wait `SECONDS` for another process that works on the tree"},
		&cli.StringFlag{Name: "state-dir", Value: shift.DefaultStateDir, Destination: &o.StateDir,
			Usage: "keep the host key, and records that a file system cannot hold, in `DIR`"},
		&cli.StringFlag{Name: "lock-dir", Value: shift.DefaultLockDir, Destination: &o.LockDir, Usage: "keep locks in `DIR`", Hidden: true},
	}
}

func (o *workOptions) progressFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Destination: &o.DryRun, Usage: "look at all files, and tell what would be done"},
		&cli.StringFlag{Name: "progress", Value: "auto", Destination: &o.progress,
			Usage: "show how far it is on stderr: bar, json, none, or auto for a bar on a terminal"},
	}
}

// complete checks the options.
func (o *workOptions) complete(ctx *cli.Context, stderr io.Writer) (end func(), err error) {
	choose := func(flag, value string, allowed ...string) error {
		for _, a := range allowed {
			if value == a {
				return nil
			}
		}
		return cmdline.Usagef("--%s %q is none of %s", flag, value, strings.Join(allowed, ", "))
	}
	if id, ok := strings.CutPrefix(o.unmapped, "squash="); ok {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || n > idmap.Max {
			return nil, cmdline.Usagef("--unmapped %q: %q is no id from 0 to %d", o.unmapped, id, uint32(idmap.Max))
		}
		o.SquashTo, o.Unmapped = uint32(n), shift.Squash
	} else if err := choose("unmapped", o.unmapped, "fail", "keep", "squash=ID"); err != nil || o.unmapped == "squash=ID" {
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
	o.Immutable, o.HardLinks, o.Caps = shift.Policy(o.immutable), shift.Policy(o.hardLinks), shift.CapsPolicy(o.caps)
	switch {
	case ctx.IsSet("jobs") && (o.Jobs < 1 || o.Jobs > maxJobs):
		return nil, cmdline.Usagef("--jobs %d is not between 1 and %d", o.Jobs, maxJobs)
	case !(o.lockTimeout >= 0 && o.lockTimeout <= maxWait.Seconds()):
		return nil, cmdline.Usagef("--lock-timeout %v is not between 0 and %v seconds", o.lockTimeout, maxWait.Seconds())
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

// rootArgument is the one argument of a command.
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
