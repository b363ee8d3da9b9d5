//go:build integration

package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestKey checks that concurrent callers create one key, and that a key which others can read is
// refused.
func TestKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b")
	if k, err := readKey(dir); k != nil || err != nil {
		t.Fatalf("no key: %x, %v", k, err)
	}
	keys := make([]key, 20)
	var group sync.WaitGroup
	for n := range keys {
		group.Go(func() {
			var err error
			if keys[n], err = loadOrCreateKey(dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, k := range keys {
		if len(k) != keySize || !bytes.Equal(k, keys[0]) || bytes.Equal(k, make(key, keySize)) {
			t.Errorf("keys %x, %x", k, keys[0])
		}
	}
	path := filepath.Join(dir, keyName)
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
		t.Errorf("the directory has %q, %v", names, err)
	}
	for _, spoil := range []func() error{
		func() error { return os.Chmod(path, 0o640) },
		func() error { return os.WriteFile(path, []byte("short"), 0o600) },
		func() error { return os.WriteFile(path, make([]byte, keySize+1), 0o600) },
		func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o600)) },
		func() error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if k, err := loadOrCreateKey(dir); err == nil || len(k) == keySize {
			t.Errorf("%x, %v", k, err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, keys[0], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
