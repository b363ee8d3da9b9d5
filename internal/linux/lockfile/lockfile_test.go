package lockfile

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAcquire acquires a lock that is free, held, and free again.
func TestAcquire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b/lock")
	first, err := Acquire(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	for _, wait := range []time.Duration{0, 20 * time.Millisecond} {
		if _, err := Acquire(t.Context(), path, wait); err == nil || !strings.Contains(err.Error(), "stayed locked for") {
			t.Errorf("after %v: %v", wait, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Acquire(ctx, path, time.Hour); err == nil {
		t.Error("it is locked twice")
	}
	got := make(chan error)
	go func() {
		second, err := Acquire(t.Context(), path, time.Minute)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	first.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// TestAcquireErrors tries paths that cannot be locked.
func TestAcquireErrors(t *testing.T) {
	dir := t.TempDir()
	for name, prepare := range map[string]func(string) error{
		"a link":       func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a directory":  func(path string) error { return os.Mkdir(path, 0o700) },
		"below/a/file": func(string) error { return os.WriteFile(filepath.Join(dir, "below"), nil, 0o600) },
	} {
		path := filepath.Join(dir, name)
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Acquire(t.Context(), path, 0); err == nil {
			t.Errorf("%s is locked", name)
		}
	}
}
