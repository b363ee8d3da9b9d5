// Package wiring writes what engines want in their configuration so that they call a hook or a runtime wrapper.
package wiring

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// HookSpec is for iSulad's --hook-spec, which knows prestart, poststart and poststop alone. The hooks run in their order.
func HookSpec(w io.Writer, prestart ...specs.Hook) error {
	return writeJSON(w, map[string]any{"prestart": prestart})
}

// When tells for which containers a hook of a hooks folder is called; all conditions must hold.
type When struct {
	Always      *bool             `json:"always,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Always is for all containers.
func Always() When {
	always := true
	return When{Always: &always}
}

// DefaultHooksDir is the folder whose files Podman and CRI-O read unless their configuration names others. They do not read
// /etc/containers/oci/hooks.d of themselves (Podman 4.3.1, tried), though podman(1) says that they do.
const DefaultHooksDir = "/usr/share/containers/oci/hooks.d"

// HooksDir is a file for --hooks-dir of Podman and hooks_dir of CRI-O (oci-hooks(5), schema 1.0.0).
func HooksDir(w io.Writer, hook specs.Hook, when When, stages ...string) error {
	return writeJSON(w, struct {
		Version string     `json:"version"`
		Hook    specs.Hook `json:"hook"`
		When    When       `json:"when"`
		Stages  []string   `json:"stages"`
	}{"1.0.0", hook, when, stages})
}

// ConfigJSON is a part of a bundle's config.json.
func ConfigJSON(w io.Writer, hooks specs.Hooks) error {
	return writeJSON(w, map[string]any{"hooks": hooks})
}

// DaemonJSON is a part of Docker's daemon.json: a runtime, the default one, that is the program with the arguments.
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

// ContainerdTOML is a part of containerd's config.toml: a runtime, the default one. It can give a runtime no arguments: the
// name of the program, a link, stands for them. SystemdCgroup is to be as runc has it, or pods are not in the kubelet's cgroups.
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
