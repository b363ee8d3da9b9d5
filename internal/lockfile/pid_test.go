package lockfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/lockfile"
)

func TestOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte("12345678 of one that is gone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := lockfile.Own(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the file has %q, %v", text, err)
	}
	want := fmt.Sprintf("process %d holds %s already", os.Getpid(), path)
	if _, err := lockfile.Own(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second owner: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = lockfile.Own(path); err != nil {
		t.Fatal(err)
	}
	f.Close()
}
