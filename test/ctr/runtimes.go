package ctr

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// NewRuntime returns the path of a runc or crun with time namespaces, which "make runtimes" gets.
func NewRuntime(ctx context.Context, name string) (string, error) {
	dir := os.Getenv("PALISADE_ENGINES")
	if dir == "" {
		cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
		if err != nil {
			return "", fmt.Errorf("find Go's build cache: %w", err)
		}
		dir = filepath.Join(strings.TrimSpace(string(cache)), "palisade-engines")
	}
	path := filepath.Join(dir, "runtimes", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (make runtimes builds it)", err)
	}
	return path, nil
}
