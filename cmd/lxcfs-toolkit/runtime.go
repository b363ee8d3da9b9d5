package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/inject/probe"
	"palisade/internal/oci"
	"palisade/internal/oci/views"
	"palisade/internal/oci/wrapper"
)

type runtimeOptions struct {
	program, hookSpec, viewList string
	annotations                 cli.StringSlice
	strict                      bool

	runtime wrapper.Runtime
	views   views.Set
}

// viewsVariable is the environment variable of --views.
const viewsVariable = "PALISADE_VIEWS"

func runtimeCommand(g *globals) *cli.Command {
	var o runtimeOptions
	return &cli.Command{
		Name:      "runtime",
		Usage:     "runtime wrapper that adds the hook to new containers, for engines without hooks",
		ArgsUsage: "-- ARGS...",
		Description: "Adds hooks and views to the configuration of the container that is created or " +
			"run, and executes the runtime with the arguments ARGS. If hooks or views cannot be added, " +
			"the container starts without them, with a warning.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "runtime", Value: "runc", Destination: &o.program,
				Usage: "execute the runtime `PROGRAM`"},
			&cli.StringFlag{Name: "hook-spec", Destination: &o.hookSpec,
				Usage: "add the hooks of `FILE` (default: lxcfs-toolkit hook)"},
			&cli.StringFlag{Name: "views", Value: "none", EnvVars: []string{viewsVariable},
				Destination: &o.viewList,
				Usage: "for containers without the annotation " + views.Annotation +
					": the views in `LIST`, separated by commas: time, sysinfo, affinity; or all, none"},
			&cli.StringSliceFlag{Name: "annotation", Destination: &o.annotations,
				Usage: "add the annotation `KEY=VALUE`, unless the container has one with this key"},
			&cli.BoolFlag{Name: "strict", Destination: &o.strict,
				Usage: "fail if hooks or views cannot be added"},
		},
		Action: func(ctx *cli.Context) error {
			addition, err := o.parse()
			if err != nil {
				return err
			}
			args := ctx.Args().Slice()
			if err := o.addTo(wrapper.ParseCommand(args), addition, g); err != nil {
				if o.strict {
					return err
				}
				g.Log.Warn("the container starts without the hooks", "err", err)
			}
			return o.runtime.Become(args)
		},
	}
}

// parse checks the options, and returns the annotations to add.
func (o *runtimeOptions) parse() (addition *oci.Addition, err error) {
	if o.runtime, err = wrapper.FindRuntime(o.program); err != nil {
		return nil, cmdline.Usagef("--runtime %q: %w", o.program, err)
	}
	if o.views, err = views.Parse(o.viewList); err != nil {
		return nil, cmdline.Usagef("--views or %s: %w", viewsVariable, err)
	}
	addition = &oci.Addition{Annotations: make(map[string]string)}
	for _, annotation := range o.annotations.Value() {
		key, value, ok := strings.Cut(annotation, "=")
		if !ok || key == "" {
			return nil, cmdline.Usagef("--annotation %q is not KEY=VALUE", annotation)
		}
		addition.Annotations[key] = value
	}
	return addition, nil
}

// addTo adds the hooks, the views, and an addition without them, to the configuration of the
// container that the command starts. A missing configuration is no error: the runtime reports it.
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
	var missing error
	addition.Edit = func(spec *specs.Spec) { missing = o.addViews(spec, g) }
	if err := addition.AddTo(command.ConfigFile()); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, missing)
	}
	return nil
}

// addViews adds the views of the container, and logs which it does not get. It returns the first
// error if that prevents the start.
func (o *runtimeOptions) addViews(spec *specs.Spec, g *globals) error {
	runtimeFeatures := func() (*features.Features, error) { return o.runtime.Features(g.RuntimeDir) }
	for _, err := range views.Apply(spec, o.views, runtimeFeatures, g.callsSocket) {
		var skipped views.Skipped
		if errors.As(err, &skipped) {
			g.Log.Info("the container is left as it is", "err", err)
			continue
		}
		err = fmt.Errorf("runtime %s: %w", o.runtime.Path, err)
		if o.strict {
			return err
		}
		g.Log.Warn("the container starts without a view", "err", err)
	}
	return nil
}

// callsSocket returns the path of the socket at which lxcfs answers system calls, if it listens: a
// runtime would not start a container whose listener is missing.
func (g *globals) callsSocket() (string, error) {
	dir := probe.RuntimeDir(probe.DefaultRuntimeDir, g.Mountpoint)
	path := filepath.Join(dir, probe.CallsSocket)
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return "", fmt.Errorf("lxcfs does not answer system calls: %w", err)
	}
	return path, conn.Close()
}
