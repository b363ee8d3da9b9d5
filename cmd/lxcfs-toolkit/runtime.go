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

// runtimeOptions are the options of the runtime wrapper.
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
			addition, runtime, err := o.complete(g)
			if err != nil {
				return err
			}
			args := ctx.Args().Slice()
			if err := addition.addFor(args); err != nil {
				if o.strict {
					return err
				}
				g.Log.Warn("the container starts without the hooks", "err", err)
			}
			return runtime.Become(args)
		},
	}
}

// pending is the addition to a container's configuration, or the error that prevents it.
type pending struct {
	oci.Addition
	err error
}

// complete checks the options.
func (o *runtimeOptions) complete(g *globals) (*pending, wrapper.Runtime, error) {
	runtime, err := wrapper.FindRuntime(o.runtime)
	if err != nil {
		return nil, runtime, cmdline.Usagef("--runtime %q: %w", o.runtime, err)
	}
	p := &pending{Addition: oci.Addition{Annotations: make(map[string]string)}}
	for _, annotation := range o.annotations.Value() {
		key, value, ok := strings.Cut(annotation, "=")
		if !ok || key == "" {
			return nil, runtime, cmdline.Usagef("--annotation %q is not KEY=VALUE", annotation)
		}
		p.Annotations[key] = value
	}
	if o.hookSpec != "" {
		p.Hooks, p.err = oci.ReadHooks(o.hookSpec)
		return p, runtime, nil
	}
	self, err := os.Executable()
	p.err = err
	p.Hooks.CreateRuntime = []specs.Hook{g.hook(self)}
	return p, runtime, nil
}

// addFor changes the configuration of the container that a runtime with these arguments starts. A
// missing file is no error: the runtime reports it.
func (p *pending) addFor(args []string) error {
	command := wrapper.ParseCommand(args)
	if !command.Starts() {
		return nil
	}
	if p.err != nil {
		return p.err
	}
	err := p.AddTo(command.ConfigFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
