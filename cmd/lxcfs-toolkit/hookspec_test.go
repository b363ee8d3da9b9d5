package main

import (
	"bytes"
	"os"
	"testing"
)

// TestHookSpecFiles holds the shipped files to what hook-spec prints.
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
		app := newApp()
		app.Writer = &got
		if err := app.Run([]string{"lxcfs-toolkit", "hook-spec", "--path", "/usr/bin/lxcfs-toolkit", engine}); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
		if got.String() != string(want) {
			t.Errorf("hooks/%s is\n%s\nhook-spec %s prints\n%s", file, want, engine, got.String())
		}
	}
}
