package engine

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Image is an image with one layer, the root file system in a directory.
type Image struct {
	Name string
	// Command is its entry point.
	Command []string
	Rootfs  string
}

// SaveImages writes an archive with the images, as docker save does.
func SaveImages(ctx context.Context, path string, list ...Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewWriter(f)
	add := func(name string, content any) error {
		text, ok := content.([]byte)
		if !ok {
			if text, err = json.Marshal(content); err != nil {
				return err
			}
		}
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := archive.Write(text)
		return err
	}
	type image struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var images []image
	for i, m := range list {
		layer, err := exec.CommandContext(ctx, "tar", "-C", m.Rootfs, "--numeric-owner", "-c", ".").Output()
		if err != nil {
			return fmt.Errorf("pack %s: %w", m.Rootfs, err)
		}
		file, layerFile := fmt.Sprintf("%d.json", i), fmt.Sprintf("%d.tar", i)
		images = append(images, image{file, []string{m.Name}, []string{layerFile}})
		err = errors.Join(add(layerFile, layer), add(file, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Entrypoint": m.Command, "Env": []string{"PATH=/bin"}},
			"rootfs": map[string]any{
				"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))},
			},
		}))
		if err != nil {
			return err
		}
	}
	if err := add("manifest.json", images); err != nil {
		return err
	}
	return archive.Close()
}

// podTemplate has the fields of the agent's DaemonSet that the kubelet would pass on by CRI.
type podTemplate struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct {
		HostPID    bool `yaml:"hostPID"`
		Containers []struct {
			Args            []string
			VolumeMounts    []any `yaml:"volumeMounts"`
			SecurityContext struct {
				ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
				Capabilities           struct{ Add, Drop []string }
			} `yaml:"securityContext"`
			Resources struct{ Limits map[string]string }
		}
	}
}

// readManifest returns the pod of the DaemonSet in a manifest.
func readManifest(t testing.TB, manifest string) *podTemplate {
	t.Helper()
	f, err := os.Open(manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for decoder := yaml.NewDecoder(f); ; {
		var object struct {
			Kind string
			Spec struct{ Template podTemplate }
		}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			t.Fatal("the manifest has no DaemonSet")
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Kind == "DaemonSet" {
			return &object.Spec.Template
		}
	}
}

// NamespaceMode of CRI.
const (
	PodNamespace       = iota
	ContainerNamespace // the kubelet's default for pids
	NodeNamespace
)

// AgentPod returns the requests of CRI for the pod of palisade-nri and its container, as the kubelet
// makes them for the DaemonSet in the manifest, but without the options of its args that are in
// replaced, and with args. In a privileged pod it is as with the chart's value privileged.
func AgentPod(
	t testing.TB, manifest, image string, isPrivileged bool, replaced []string, args ...string,
) (pod, container map[string]any) {
	t.Helper()
	template := readManifest(t, manifest)
	c := template.Spec.Containers[0]
	if len(template.Spec.Containers) != 1 || len(c.VolumeMounts) > 0 || !template.Spec.HostPID {
		t.Fatalf("the pod needs more than AgentPod gives it: %+v", template)
	}
	args = append(slices.DeleteFunc(c.Args, func(arg string) bool {
		option, _, _ := strings.Cut(arg, "=")
		return slices.Contains(replaced, option)
	}), args...)
	security := map[string]any{
		"privileged":        isPrivileged,
		"readonly_rootfs":   c.SecurityContext.ReadOnlyRootFilesystem,
		"namespace_options": map[string]any{"pid": NodeNamespace, "network": NodeNamespace},
		"seccomp":           map[string]any{"profile_type": 1}, // unconfined
	}
	if !isPrivileged {
		security["capabilities"] = map[string]any{
			"add_capabilities":  c.SecurityContext.Capabilities.Add,
			"drop_capabilities": c.SecurityContext.Capabilities.Drop,
		}
	}
	name := fmt.Sprintf("agent-%08x", rand.Uint32())
	pod = map[string]any{
		"metadata":    map[string]any{"name": name, "uid": name, "namespace": "kube-system"},
		"annotations": template.Metadata.Annotations,
		"linux":       map[string]any{"security_context": security},
	}
	container = map[string]any{
		"metadata": map[string]any{"name": "palisade-nri"},
		"image":    map[string]any{"image": image},
		"args":     args,
		"log_path": "agent.log",
		"linux": map[string]any{
			"resources":        map[string]any{"memory_limit_in_bytes": 256 << 20},
			"security_context": security,
		},
	}
	return pod, container
}
