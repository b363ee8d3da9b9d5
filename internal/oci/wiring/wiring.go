// Package wiring writes the configuration by which engines call a hook or a runtime wrapper.
package wiring

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
)

// Hook returns a hook that an engine may kill after 30 seconds, lcr's default.
func Hook(path string, args ...string) specs.Hook {
	timeout := 30
	return specs.Hook{Path: path, Args: args, Timeout: &timeout}
}

// Engines lists the engines of which a program can write the configuration.
func Engines[F any](writers map[string]F) string {
	return strings.Join(slices.Sorted(maps.Keys(writers)), ", ")
}

// Writer returns the writer for the engine that is the only argument of a command.
func Writer[F any](ctx *cli.Context, writers map[string]F) (write F, err error) {
	engine := ctx.Args().First()
	write, ok := writers[engine]
	switch {
	case ctx.NArg() > 1:
		err = cmdline.Usagef("argument %q is one too many: only ENGINE is expected", ctx.Args().Get(1))
	case !ok:
		err = cmdline.Usagef("engine %q is not one of %s", engine, Engines(writers))
	}
	return write, err
}

// HookSpec writes a file for iSulad's --hook-spec, which supports only prestart, poststart and
// poststop. The hooks run in order.
func HookSpec(w io.Writer, prestart ...specs.Hook) error {
	return writeJSON(w, map[string]any{"prestart": prestart})
}

// DefaultHooksDir is the directory that Podman and CRI-O read unless their configuration names
// others. Podman 4.3.1 does not read /etc/containers/oci/hooks.d, though podman(1) says so.
const DefaultHooksDir = "/usr/share/containers/oci/hooks.d"

// HooksDir writes a file for Podman's --hooks-dir and CRI-O's hooks_dir (oci-hooks(5), schema
// 1.0.0). The hook is called for containers with all the annotations.
func HooksDir(
	w io.Writer, hook specs.Hook, annotations map[string]string, stages ...string,
) error {
	when := map[string]any{"always": true}
	if len(annotations) > 0 {
		when = map[string]any{"annotations": annotations}
	}
	return writeJSON(w, struct {
		Version string         `json:"version"`
		Hook    specs.Hook     `json:"hook"`
		When    map[string]any `json:"when"`
		Stages  []string       `json:"stages"`
	}{"1.0.0", hook, when, stages})
}

// ConfigJSON writes the hooks of a bundle's config.json.
func ConfigJSON(w io.Writer, hooks specs.Hooks) error {
	return writeJSON(w, map[string]any{"hooks": hooks})
}

// DaemonJSON writes the part of Docker's daemon.json that makes program, with args, the default
// runtime.
func DaemonJSON(w io.Writer, name, program string, args []string) error {
	return writeJSON(w, map[string]any{
		"default-runtime": name,
		"runtimes":        map[string]any{name: map[string]any{"path": program, "runtimeArgs": args}},
	})
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// ContainerdTOML writes the part of containerd's config.toml that makes program the default
// runtime. containerd passes no arguments to a runtime, so program must be a link whose name stands
// for them. SystemdCgroup must be the same as for runc, or pods are not in the kubelet's cgroups.
func ContainerdTOML(w io.Writer, name, program string) error {
	_, err := fmt.Fprintf(w, `version = 2

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = %[1]q

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%[1]s]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%[1]s.options]
  BinaryName = %[2]q
  # As in the options of runc: true where the kubelet's cgroupDriver is systemd, which is so with kubeadm.
  # SystemdCgroup = true
`, name, program)
	return err
}
