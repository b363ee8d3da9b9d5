//go:build integration

package nri

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// testImage is an image with one layer, the root file system in a directory.
type testImage struct {
	name    string
	command []string
	rootfs  string
}

// saveImages writes an archive with the images, as docker save does.
func saveImages(ctx context.Context, path string, list ...testImage) error {
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
		layer, err := exec.CommandContext(ctx, "tar", "-C", m.rootfs, "--numeric-owner", "-c", ".").Output()
		if err != nil {
			return fmt.Errorf("pack %s: %w", m.rootfs, err)
		}
		file, layerFile := fmt.Sprintf("%d.json", i), fmt.Sprintf("%d.tar", i)
		images = append(images, image{file, []string{m.name}, []string{layerFile}})
		err = errors.Join(add(layerFile, layer), add(file, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Cmd": m.command, "Env": []string{"PATH=/bin"}},
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
