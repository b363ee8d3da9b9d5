package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"palisade/internal/linux/sys"
)

// findStored reads the names of containers from the store that Podman and CRI-O share
// (containers/storage), which includes containers that are not running.
func findStored(lib string) ([]finding, error) {
	files, err := filepath.Glob(filepath.Join(lib, "containers/storage/*-containers/containers.json"))
	if err != nil {
		return nil, err
	}
	var found []finding
	var errs []error
	for _, file := range files {
		text, err := sys.ReadRegular(file, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var list []finding
		if err == nil {
			list, err = parseStored(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		found = append(found, list...)
	}
	return found, errors.Join(errs...)
}

func parseStored(text []byte) ([]finding, error) {
	var list []struct {
		ID    string
		Names []string
		// Metadata is a JSON object in a string. CRI-O's contains the name of a pod.
		Metadata string
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	found := make([]finding, 0, len(list))
	for _, c := range list {
		f := finding{Container: Container{ID: c.ID, Names: c.Names, Engine: "podman"}}
		var metadata struct {
			PodName string `json:"pod-name"`
		}
		if json.Unmarshal([]byte(c.Metadata), &metadata) == nil && metadata.PodName != "" {
			f.Engine = "cri-o"
		}
		found = append(found, f)
	}
	return found, nil
}
