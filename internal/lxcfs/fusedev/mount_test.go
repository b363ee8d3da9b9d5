//go:build integration

package fusedev_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/lxcfs/fusedev"
)

func TestMountErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	_, err := fusedev.Mount(dir, "x")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("got %v, want ENOENT with the directory", err)
	}
}
