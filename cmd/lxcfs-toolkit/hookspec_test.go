package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestHookSpecFiles compares the shipped files with the output of hook-spec.
func TestHookSpecFiles(t *testing.T) {
	for engine, file := range map[string]string{
		"isulad":     "hookspec.json",
		"podman":     "oci/lxcfs.json",
		"crio":       "oci/lxcfs.json",
		"runc":       "runc/config.json",
		"docker":     "docker/daemon.json",
		"containerd": "containerd/config.toml",
	} {
		want, err := os.ReadFile("../../hooks/" + file)
		if err != nil {
			t.Error(err)
			continue
		}
		var got bytes.Buffer
		app := newProgram()
		app.Writer = &got
		args := []string{"lxcfs-toolkit", "hook-spec", "--path", "/usr/bin/lxcfs-toolkit", engine}
		if err := app.Run(args); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
		if got.String() != string(want) {
			t.Errorf("hooks/%s is\n%s\nhook-spec %s prints\n%s", file, want, engine, got.String())
		}
	}
}

// TestHookSpecOrder sets all options that are added to the hook, in another order: hook-spec prints
// them in a fixed order.
func TestHookSpecOrder(t *testing.T) {
	want := []string{"lxcfs-toolkit", "--mountpoint", "/m", "--log", "/l", "--log-level", "debug",
		"--log-format", "text", "--runtime-dir", "/r", "hook"}
	for range 20 {
		var got bytes.Buffer
		app := newProgram()
		app.Writer = &got
		log := t.TempDir() + "/log"
		if err := app.Run([]string{"lxcfs-toolkit", "--runtime-dir", "/r", "--log-format", "text",
			"--log-level", "debug", "--log", log, "--mountpoint", "/m", "hook-spec", "runc"}); err != nil {
			t.Fatal(err)
		}
		var config specs.Spec
		if err := json.Unmarshal(got.Bytes(), &config); err != nil {
			t.Fatal(err)
		}
		args := config.Hooks.CreateRuntime[0].Args
		if i := slices.Index(args, log); i >= 0 {
			args[i] = "/l"
		}
		if !slices.Equal(args, want) {
			t.Fatalf("the hook's arguments are %q, want %q", args, want)
		}
	}
}
