//go:build integration

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"palisade/test/engine"
)

// TestBootFails checks that Boot does not wait for a systemd that has exited.
func TestBootFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "root.sh")
	if err := os.WriteFile(script, []byte("mount -t tmpfs tmpfs $1"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := engine.NewMachine(t, script)
	started := time.Now()
	err := m.Boot("multi-user.target")
	if took := time.Since(started); err == nil || took > engine.WaitTime/4 {
		t.Errorf("after %v: %v, want an error at once", took, err)
	}
}
