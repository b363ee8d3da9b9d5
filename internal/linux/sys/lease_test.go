package sys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestReadWithLease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		t.Helper()
		text, err := ReadWithLease(file, 4)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := read(); text != "text" {
		t.Errorf("read %q", text)
	}
	w, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWithLease(file, 4); !errors.Is(err, ErrBeingWritten) {
		t.Errorf("open for writing: got %v, want %v", err, ErrBeingWritten)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if text := read(); text != "text" {
		t.Errorf("read %q", text)
	}
	if _, err := ReadWithLease(file, 3); err == nil {
		t.Error("too large: got no error")
	}
	if _, err := ReadWithLease(filepath.Dir(file), 3); err == nil {
		t.Error("directory: got no error")
	}
}
