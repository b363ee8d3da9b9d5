package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
)

// hookTimeout is after how many seconds a runtime may kill the hook, which ends by itself well before.
const hookTimeout = 30

// hook is the entry that makes an engine run the toolkit's hook.
func (g *globals) hook(program string) specs.Hook {
	args := append([]string{"lxcfs-toolkit"}, g.given...) // lcr gives an empty name where there are no arguments
	timeout := hookTimeout
	return specs.Hook{Path: program, Args: append(args, "hook"), Timeout: &timeout}
}

// wirings are, by engine, what is to be put into its configuration.
var wirings = map[string]func(w io.Writer, hook specs.Hook) error{
	"isulad":     writeHookSpec,
	"podman":     writeHooksDir,
	"crio":       writeHooksDir,
	"docker":     writeDaemonJSON,
	"containerd": writeConfigTOML,
	"runc":       writeConfigJSON,
}

func hookSpecCommand(g *globals) *cli.Command {
	var program string
	engines := slices.Sorted(maps.Keys(wirings))
	return &cli.Command{
		Name:        "hook-spec",
		Usage:       "print what makes an engine call the hook",
		ArgsUsage:   "ENGINE",
		Description: "The ENGINE is one of " + strings.Join(engines, ", ") + ". Global options become the hook's.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "path", Destination: &program, Usage: "the hook is the `PROGRAM` (default: this one)"},
		},
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 1 {
				return cmdline.Usagef("argument %q is one too many: options stand before the engine", ctx.Args().Get(1))
			}
			write, ok := wirings[ctx.Args().First()]
			if !ok {
				return cmdline.Usagef("engine %q is not one of %s", ctx.Args().First(), strings.Join(engines, ", "))
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

// writeHookSpec is for iSulad's --hook-spec, which knows prestart, poststart and poststop alone.
func writeHookSpec(w io.Writer, hook specs.Hook) error {
	return writeJSON(w, map[string]any{"prestart": []specs.Hook{hook}})
}

// writeHooksDir is a file for --hooks-dir of Podman and hooks_dir of CRI-O (oci-hooks(5), schema 1.0.0).
func writeHooksDir(w io.Writer, hook specs.Hook) error {
	return writeJSON(w, struct {
		Version string          `json:"version"`
		Hook    specs.Hook      `json:"hook"`
		When    map[string]bool `json:"when"`
		Stages  []string        `json:"stages"`
	}{"1.0.0", hook, map[string]bool{"always": true}, []string{"createRuntime"}})
}

// writeConfigJSON is a part of a bundle's config.json.
func writeConfigJSON(w io.Writer, hook specs.Hook) error {
	return writeJSON(w, map[string]any{"hooks": specs.Hooks{CreateRuntime: []specs.Hook{hook}}})
}

// writeDaemonJSON is a part of Docker's daemon.json.
func writeDaemonJSON(w io.Writer, hook specs.Hook) error {
	args := slices.Concat(hook.Args[1:len(hook.Args)-1], []string{"runtime", "--runtime", "runc", "--"})
	return writeJSON(w, map[string]any{
		"default-runtime": "lxcfs",
		"runtimes":        map[string]any{"lxcfs": map[string]any{"path": hook.Path, "runtimeArgs": args}},
	})
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// writeConfigTOML is a part of containerd's config.toml. It can give a runtime no arguments: the name of the program, a
// link to lxcfs-toolkit, stands for them.
func writeConfigTOML(w io.Writer, hook specs.Hook) error {
	_, err := fmt.Fprintf(w, `version = 2

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "lxcfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lxcfs]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lxcfs.options]
  BinaryName = %q
`, filepath.Join(filepath.Dir(hook.Path), "lxcfs-runc"))
	return err
}
