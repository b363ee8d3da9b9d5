package engine

import (
	"encoding/json"
	"slices"
)

// findStored reads the names of containers from the store that Podman and CRI-O share
// (containers/storage), which includes containers that are not running.
func findStored(lib string) ([]finding, error) {
	stores := []string{"containers/storage/*-containers/containers.json"}
	lists, err := findFiles(lib, stores, func(file string) ([]finding, error) {
		return readParsed(file, parseStored)
	})
	return slices.Concat(lists...), err
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
