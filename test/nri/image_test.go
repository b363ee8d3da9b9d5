//go:build integration

package nri

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// saveImages writes an archive, as docker save does, with the two images of the tests. Both have
// the root file system: the pause image needs only its program load.
func saveImages(ctx context.Context, path, rootfs string) error {
	layer, err := exec.CommandContext(ctx, "tar", "-C", rootfs, "--numeric-owner", "-c", ".").Output()
	if err != nil {
		return fmt.Errorf("pack %s: %w", rootfs, err)
	}
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
	for name, command := range map[string][]string{
		pauseImage: {"/bin/load", "sleepers", "1"}, boxImage: {"/bin/sleep", "1000000"},
	} {
		file := fmt.Sprintf("%d.json", len(images))
		images = append(images, image{file, []string{name}, []string{"layer.tar"}})
		err := add(file, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Cmd": command, "Env": []string{"PATH=/bin"}},
			"rootfs": map[string]any{
				"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))},
			},
		})
		if err != nil {
			return err
		}
	}
	if err := add("layer.tar", layer); err != nil {
		return err
	}
	if err := add("manifest.json", images); err != nil {
		return err
	}
	return archive.Close()
}
