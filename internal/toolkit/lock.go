package toolkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/lockfile"
)

// lock makes sure that one toolkit at a time goes through the containers. It is held as long as the file is open.
func (t *Toolkit) lock(ctx context.Context, wait time.Duration) (*os.File, error) {
	f, err := lockfile.Acquire(ctx, filepath.Join(t.RuntimeDir, "lock"), wait)
	if err != nil {
		return nil, fmt.Errorf("is another lxcfs-toolkit at work? %w", err)
	}
	return f, nil
}
