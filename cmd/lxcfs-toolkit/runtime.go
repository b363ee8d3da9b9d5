package main

import (
	"errors"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci"
	"palisade/internal/oci/wrapper"
)

type runtimeOptions struct {
	runtime, hookSpec string
	annotations       cli.StringSlice
	strict            bool
}

func runtimeCommand(g *globals) *cli.Command {
	var o runtimeOptions
	return &cli.Command{
		Name:      "runtime",
		Usage:     "runtime wrapper that adds the hook to new containers, for engines without hooks",
		ArgsUsage: "-- ARGS...",
		Description: "Adds hooks to the configuration of the container that is created or run, and " +
			"executes the runtime with the arguments ARGS. If hooks cannot be added, the container " +
			"starts without them, with a warning.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "runtime", Value: "runc", Destination: &o.runtime,
				Usage: "execute the runtime `PROGRAM`"},
			&cli.StringFlag{Name: "hook-spec", Destination: &o.hookSpec,
				Usage: "add the hooks of `FILE` (default: lxcfs-toolkit hook)"},
			&cli.StringSliceFlag{Name: "annotation", Destination: &o.annotations,
				Usage: "add the annotation `KEY=VALUE`, unless the container has one with this key"},
			&cli.BoolFlag{Name: "strict", Destination: &o.strict,
				Usage: "fail if hooks cannot be added"},
		},
		Action: func(ctx *cli.Context) error {
			runtime, err := wrapper.FindRuntime(o.runtime)
			if err != nil {
				return cmdline.Usagef("--runtime %q: %w", o.runtime, err)
			}
			addition := oci.Addition{Annotations: make(map[string]string)}
			for _, annotation := range o.annotations.Value() {
				key, value, ok := strings.Cut(annotation, "=")
				if !ok || key == "" {
					return cmdline.Usagef("--annotation %q is not KEY=VALUE", annotation)
				}
				addition.Annotations[key] = value
			}
			args := ctx.Args().Slice()
			if err := o.addTo(wrapper.ParseCommand(args), &addition, g); err != nil {
				if o.strict {
					return err
				}
				g.Log.Warn("the container starts without the hooks", "err", err)
			}
			return runtime.Become(args)
		},
	}
}

// addTo adds the hooks, and an addition without hooks, to the configuration of the container that
// the command starts. A missing configuration is no error: the runtime reports it.
func (o *runtimeOptions) addTo(command wrapper.Command, addition *oci.Addition, g *globals) error {
	if !command.Starts() {
		return nil
	}
	self, err := os.Executable()
	if o.hookSpec != "" {
		addition.Hooks, err = oci.ReadHooks(o.hookSpec)
	} else {
		addition.Hooks.CreateRuntime = []specs.Hook{g.hook(self)}
	}
	if err != nil {
		return err
	}
	if err := addition.AddTo(command.ConfigFile()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
