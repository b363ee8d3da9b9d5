package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/linelog"
	"palisade/internal/oci/wrapper"
	"palisade/internal/userns/remap"
)

type remapOptions struct {
	workOptions
	remap, mode, volumes, runDir string
}

const (
	remapVariable   = "USERNS_SHIFT_REMAP"
	volumesVariable = "USERNS_SHIFT_VOLUMES"
)

func (o *remapOptions) flags() []cli.Flag {
	own := []cli.Flag{
		&cli.StringFlag{Name: "user-remap", EnvVars: []string{remapVariable}, Destination: &o.remap,
			Usage: "for containers without the annotation " + remap.Annotation +
				": `UID:GID:OFFSET`, auto or auto:SIZE"},
		&cli.StringFlag{Name: "mode", Value: remap.Auto, Destination: &o.mode,
			Usage: "map the ids of the root file system by: " + strings.Join(remap.Modes, ", ")},
		&cli.StringFlag{Name: "volumes", Value: remap.Leave, EnvVars: []string{volumesVariable},
			Destination: &o.volumes,
			Usage: "map the ids of bind mounts without the annotation " + remap.VolumesAnnotation +
				".DESTINATION: `MODE` is idmap, idmap=UID:GID, idmap=UID:GID:SIZE, shift or leave"},
		&cli.StringFlag{Name: "run-dir", Value: remap.DefaultRunDir, Destination: &o.runDir, Hidden: true,
			Usage: "mount root file systems and volumes below `DIR`"},
	}
	return append(own, o.workOptions.flags()...)
}

// remapper returns a Remapper with the options and the path of this program, or an error if an
// option is invalid.
func (o *remapOptions) remapper(
	ctx *cli.Context, stderr io.Writer,
) (r *remap.Remapper, self string, err error) {
	if err := choose("mode", o.mode, remap.Modes...); err != nil {
		return nil, "", err
	}
	volumes, err := remap.ParseVolumeMode(o.volumes)
	if err != nil {
		return nil, "", cmdline.Usagef("--volumes: %w", err)
	}
	if err := o.complete(ctx); err != nil {
		return nil, "", err
	}
	self, err = os.Executable()
	return &remap.Remapper{
		Mode: o.mode, Remap: o.remap, Volumes: volumes, Options: o.Options, RunDir: o.runDir,
		RangesConfig: o.rangesConfig,
		Log:          slog.New(linelog.New(program, stderr, slog.LevelWarn)),
	}, self, err
}

func hookCommand(stderr io.Writer) *cli.Command {
	var o remapOptions
	var stage, root string
	var deadline float64
	own := []cli.Flag{
		&cli.StringFlag{Name: "stage", Value: remap.AutoStage, Destination: &stage,
			Usage: "the stage of the hook: " + strings.Join(remap.Stages, ", ")},
		&cli.StringFlag{Name: "rootfs", Destination: &root,
			Usage: "the root file system is `DIR` (default: that of the container)"},
		&cli.Float64Flag{Name: "deadline", Destination: &deadline,
			Usage: "stop after `SECONDS`, to resume at the next start " +
				"(default: 2 less than the runtime allows)"},
	}
	return &cli.Command{
		Name:      "hook",
		Usage:     "OCI hook: shift the root file system of a container with a user namespace",
		UsageText: "userns-shift hook [OPTIONS]",
		Description: "Reads the state of the container, or at the stage precreate its configuration, " +
			"from stdin. Does nothing for containers without a user namespace.",
		Flags: append(own, o.flags()...),
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return cmdline.Usagef("argument %q is one too many: hook takes options only",
					ctx.Args().First())
			}
			if err := choose("stage", stage, remap.Stages...); err != nil {
				return err
			}
			if ctx.IsSet("deadline") && !(deadline > 0 && deadline <= maxWait.Seconds()) {
				return cmdline.Usagef("--deadline %v is not between 0 and %v seconds", deadline,
					maxWait.Seconds())
			}
			r, self, err := o.remapper(ctx, stderr)
			if err != nil {
				return err
			}
			hook := remap.Hook{Remapper: r, Stage: stage, Root: root, Program: self,
				Deadline: time.Duration(math.Ceil(deadline * float64(time.Second)))}
			return truncate(hook.Run(ctx.Context, os.Stdin, ctx.App.Writer))
		},
	}
}

// maxHookError limits the error message of a hook in bytes: lcr reads at most 4 KiB.
const maxHookError = 3 << 10

func truncate(err error) error {
	if err == nil || len(err.Error()) <= maxHookError {
		return err
	}
	return errors.New(strings.ToValidUTF8(err.Error()[:maxHookError], "") + "...")
}

func runtimeCommand(stderr io.Writer) *cli.Command {
	var o remapOptions
	var name string
	return &cli.Command{
		Name:      "runtime",
		Usage:     "wrap an OCI runtime: give containers user namespaces and root file systems for them",
		UsageText: "userns-shift runtime --runtime runc [OPTIONS] -- ARGS...",
		Description: "Gives a container that is created or run a user namespace, if it has the " +
			"annotation " +
			remap.Annotation + ", or --user-remap or the environment variable " + remapVariable +
			" is set. Then executes the runtime with the arguments ARGS.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "runtime", Value: "runc", Destination: &name, Usage: "execute `PROGRAM`"},
		}, o.flags()...),
		Action: func(ctx *cli.Context) error {
			runtime, err := wrapper.FindRuntime(name)
			if err != nil {
				return cmdline.Usagef("--runtime %q: %w", name, err)
			}
			r, self, err := o.remapper(ctx, stderr)
			if err != nil {
				return err
			}
			args := ctx.Args().Slice()
			command := wrapper.ParseCommand(args)
			if err := r.Prepare(ctx.Context, command, o.poststop(self)); err != nil {
				if !errors.Is(err, context.Canceled) {
					command.LogError(fmt.Errorf("%s: %w", program, err))
				}
				return err
			}
			return runtime.Become(args)
		},
	}
}
