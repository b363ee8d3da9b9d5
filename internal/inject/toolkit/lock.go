package toolkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/linux/lockfile"
)

// lock prevents other processes from changing containers as long as the returned file is open.
func (t *Toolkit) lock(ctx context.Context, wait time.Duration) (*os.File, error) {
	f, err := lockfile.Acquire(ctx, filepath.Join(t.RuntimeDir, "lock"), wait)
	if err != nil {
		return nil, fmt.Errorf("wait for another lxcfs-toolkit: %w", err)
	}
	return f, nil
}
