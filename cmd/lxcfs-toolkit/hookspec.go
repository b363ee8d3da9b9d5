package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/wiring"
)

// hookTimeout is the time in seconds after which a runtime may kill the hook. The hook ends
// earlier.
const hookTimeout = 30

// hook returns the entry in an engine's configuration that runs the hook.
func (g *globals) hook(program string) specs.Hook {
	args := append([]string{"lxcfs-toolkit"}, g.given...) // without a name lcr passes an empty one
	timeout := hookTimeout
	return specs.Hook{Path: program, Args: append(args, "hook"), Timeout: &timeout}
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
	return wiring.HooksDir(w, hook, wiring.Always(), "createRuntime")
}

func hookSpecCommand(g *globals) *cli.Command {
	var program string
	engines := slices.Sorted(maps.Keys(wirings))
	return &cli.Command{
		Name:      "hook-spec",
		Usage:     "print the configuration that makes an engine run the hook",
		ArgsUsage: "ENGINE",
		Description: "ENGINE is one of " + strings.Join(engines, ", ") +
			". Global options are added to the hook.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "path", Destination: &program,
				Usage: "path of the hook's `PROGRAM` (default: this one)"},
		},
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 1 {
				return cmdline.Usagef("argument %q is one too many: only ENGINE is expected",
					ctx.Args().Get(1))
			}
			write, ok := wirings[ctx.Args().First()]
			if !ok {
				return cmdline.Usagef("engine %q is not one of %s",
					ctx.Args().First(), strings.Join(engines, ", "))
			}
			if ctx.IsSet("path") && !filepath.IsAbs(program) {
				return cmdline.Usagef("--path %q is not an absolute path", program)
			}
			if program == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				program = self
			}
			return write(ctx.App.Writer, g.hook(program))
		},
	}
}
