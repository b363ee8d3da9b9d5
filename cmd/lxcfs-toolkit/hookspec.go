package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/wiring"
)

// hook returns the entry in an engine's configuration that runs the hook.
func (g *globals) hook(program string) specs.Hook {
	args := append([]string{"lxcfs-toolkit"}, g.given...) // without a name lcr passes an empty one
	return wiring.Hook(program, append(args, "hook")...)
}

// wirings write the configuration that makes an engine run the hook, by engine.
var wirings = map[string]func(w io.Writer, hook specs.Hook) error{
	"isulad": func(w io.Writer, hook specs.Hook) error { return wiring.HookSpec(w, hook) },
	"podman": writeHooksDir,
	"crio":   writeHooksDir,
	"docker": func(w io.Writer, hook specs.Hook) error {
		args := slices.Concat(
			hook.Args[1:len(hook.Args)-1], []string{"runtime", "--runtime", "runc", "--"},
		)
		return wiring.DaemonJSON(w, "lxcfs", hook.Path, args)
	},
	"containerd": func(w io.Writer, hook specs.Hook) error {
		return wiring.ContainerdTOML(w, "lxcfs", filepath.Join(filepath.Dir(hook.Path), "lxcfs-runc"))
	},
	"runc": func(w io.Writer, hook specs.Hook) error {
		return wiring.ConfigJSON(w, specs.Hooks{CreateRuntime: []specs.Hook{hook}})
	},
}

func writeHooksDir(w io.Writer, hook specs.Hook) error {
	return wiring.HooksDir(w, hook, nil, "createRuntime")
}

func hookSpecCommand(g *globals) *cli.Command {
	var program string
	return &cli.Command{
		Name:      "hook-spec",
		Usage:     "print the configuration that makes an engine run the hook",
		ArgsUsage: "ENGINE",
		Description: "ENGINE is one of " + wiring.Engines(wirings) +
			". Global options are added to the hook.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "path", Destination: &program,
				Usage: "path of the hook's `PROGRAM` (default: this one)"},
		},
		Action: func(ctx *cli.Context) error {
			write, err := wiring.Writer(ctx, wirings)
			if err != nil {
				return err
			}
			if ctx.IsSet("path") && !filepath.IsAbs(program) {
				return cmdline.Usagef("--path %q is not an absolute path", program)
			}
			if program == "" {
				if program, err = os.Executable(); err != nil {
					return err
				}
			}
			return write(ctx.App.Writer, g.hook(program))
		},
	}
}
