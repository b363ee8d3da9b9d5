package linelog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestStuckFile writes to a log that blocks: the first write times out, and the next fail at once.
func TestStuckFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	f := &File{f: w}
	for range 1000 {
		if _, err := f.Write(make([]byte, 1<<20)); !errors.Is(err, errStuck) {
			t.Fatalf("got the error %v", err)
		}
	}
	if err := f.Close(); !errors.Is(err, errStuck) {
		t.Errorf("close: %v", err)
	}
}

// TestFile appends lines.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		f, err := Open(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte("line\n")); n != 5 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "line\nline\n" {
		t.Errorf("the log has %q (%v)", text, err)
	}
}
