package main

import (
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/oci/wiring"
	"palisade/internal/userns/ranges"
	"palisade/internal/userns/remap"
	"palisade/internal/userns/shift"
)

// hook returns a hook that calls this program's command hook.
func hook(path string, args ...string) specs.Hook {
	return wiring.Hook(path, append([]string{program, "hook"}, args...)...)
}

// poststop returns the hook that unmounts what the runtime wrapper has mounted, and frees the
// range.
func (o *remapOptions) poststop(self string) specs.Hook {
	args := []string{"--stage", remap.PostStop, "--run-dir", o.runDir}
	if o.StateDir != shift.DefaultStateDir { // which has the range
		args = append(args, "--state-dir", o.StateDir)
	}
	if o.LockDir != shift.DefaultLockDir { // which has its record
		args = append(args, "--lock-dir", o.LockDir)
	}
	return hook(self, args...)
}

type specOptions struct {
	path, lxcfs, remap, volumes string
}

// specWriters write the configuration that makes an engine call the hook or the runtime wrapper.
var specWriters = map[string]func(w io.Writer, o *specOptions) error{
	"isulad": func(w io.Writer, o *specOptions) error {
		hooks := []specs.Hook{hook(o.path)}
		if o.lxcfs != "" {
			lxcfs := wiring.Hook(o.lxcfs, "lxcfs-toolkit", "hook")
			hooks = append(hooks, lxcfs) // last, since its mounts hide files of the root file system
		}
		return wiring.HookSpec(w, hooks...)
	},
	// CRI-O and NRI call the hook after the mount points were created.
	"crio": writeCreateRuntime,
	"nri":  writeCreateRuntime,
	"podman": func(w io.Writer, o *specOptions) error {
		key := "^" + strings.ReplaceAll(remap.Annotation, ".", `\.`) + "$"
		when := map[string]string{key: ".*"}
		stage := remap.Precreate
		return wiring.HooksDir(w, hook(o.path, "--stage", stage), when, stage)
	},
	"docker": func(w io.Writer, o *specOptions) error {
		// Docker's root file systems are overlays.
		args := []string{"runtime", "--runtime", "runc", "--allow-copyup", "--"}
		if o.remap != "" {
			args = slices.Insert(args, len(args)-1, "--user-remap", o.remap)
		}
		if o.volumes != "" {
			args = slices.Insert(args, len(args)-1, "--volumes", o.volumes)
		}
		return wiring.DaemonJSON(w, "userns", o.path, args)
	},
	"containerd": func(w io.Writer, o *specOptions) error {
		return wiring.ContainerdTOML(w, "userns", filepath.Join(filepath.Dir(o.path), program+"-runc"))
	},
	"runc": func(w io.Writer, o *specOptions) error {
		return wiring.ConfigJSON(w, specs.Hooks{CreateRuntime: []specs.Hook{hook(o.path)}})
	},
}

func writeCreateRuntime(w io.Writer, o *specOptions) error {
	return wiring.HooksDir(w, hook(o.path), nil, remap.CreateRuntime)
}

func hookSpecCommand() *cli.Command {
	var o specOptions
	return &cli.Command{
		Name:        "hook-spec",
		Usage:       "print the configuration that makes an engine call the hook or the runtime wrapper",
		UsageText:   "userns-shift hook-spec [OPTIONS] ENGINE",
		Description: "The ENGINE is one of " + wiring.Engines(specWriters) + ".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "path", Value: "/usr/bin/userns-shift", Destination: &o.path,
				Usage: "call `PROGRAM`"},
			&cli.StringFlag{Name: "user-remap", Destination: &o.remap,
				Usage: "for docker, which has no annotations before version 24: " +
					"all containers get `UID:GID:OFFSET`, or ranges of their own (auto)"},
			&cli.StringFlag{Name: "volumes", Destination: &o.volumes,
				Usage: "for docker: map the ids of bind mounts by `MODE`, as the command runtime"},
			&cli.StringFlag{Name: "lxcfs", Destination: &o.lxcfs,
				Usage: "for isulad: call the lxcfs-toolkit `PROGRAM` afterwards"},
		},
		Action: func(ctx *cli.Context) error {
			write, err := wiring.Writer(ctx, specWriters)
			if err != nil {
				return err
			}
			if o.remap != "" {
				if _, err := ranges.ParseRemap(o.remap); err != nil {
					return cmdline.UsageError{Err: err}
				}
			}
			if ctx.IsSet("volumes") {
				if _, err := remap.ParseVolumeMode(o.volumes); err != nil {
					return cmdline.Usagef("--volumes: %w", err)
				}
			}
			for _, option := range []struct{ flag, path string }{{"path", o.path}, {"lxcfs", o.lxcfs}} {
				if ctx.IsSet(option.flag) && !filepath.IsAbs(option.path) {
					return cmdline.Usagef("--%s %q is not an absolute path", option.flag, option.path)
				}
			}
			return write(ctx.App.Writer, &o)
		},
	}
}
