package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/bench/stat"
)

// measureVolumes runs the wrapper for containers without volumes, with one, and with many, each of
// them the tree.
func (b *bench) measureVolumes(tree string, rounds int) error {
	const many = 21
	counts := []int{0, 1, many}
	took := make(map[int][]time.Duration)
	root := filepath.Join(b.dir, "empty")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for round := range 3*rounds + 1 {
		for _, n := range counts {
			bundle := filepath.Join(b.dir, fmt.Sprintf("volumes-%d-%d", round, n))
			if err := writeBundle(bundle, root, tree, n); err != nil {
				return err
			}
			line := []string{b.program, "runtime", "--runtime", "true", "--user-remap", remap,
				"--volumes", "idmap", "--"}
			r, err := call(append(line, "create", "--bundle", bundle, "bench")...)
			if err != nil {
				return err
			}
			if _, err := call(append(line, "delete", "bench")...); err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				took[n] = append(took[n], r.took)
			}
		}
	}
	none, one, all := stat.Median(took[0]), stat.Median(took[1]), stat.Median(took[many])
	fmt.Printf("wrapper without volumes: %v; the first volume: %v; each of %d more: %v\n",
		none.Round(10*time.Microsecond), (one - none).Round(10*time.Microsecond), many-1,
		((all - one) / (many - 1)).Round(10*time.Microsecond))
	return nil
}

// writeBundle creates a bundle with n mounts of a tree.
func writeBundle(bundle, root, tree string, n int) error {
	spec := specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: root},
		Process: &specs.Process{Cwd: "/", Args: []string{"sh"}},
		Linux:   new(specs.Linux),
	}
	for i := range n {
		spec.Mounts = append(spec.Mounts, specs.Mount{Type: "bind", Source: tree,
			Destination: fmt.Sprintf("/data-%d", i), Options: []string{"rbind", "rprivate"}})
	}
	config, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.Mkdir(bundle, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600)
}
