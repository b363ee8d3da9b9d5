package sys

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// writeFile creates a file in the directory, and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeFIFO creates a FIFO in the directory, and returns its path.
func makeFIFO(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadInChild(t *testing.T) {
	dir := t.TempDir()
	good, empty := writeFile(t, dir, "good", "x"), writeFile(t, dir, "empty", "")
	missing := filepath.Join(dir, "missing")
	for _, tt := range []struct {
		paths []string
		want  error
	}{
		{[]string{good}, nil},
		{[]string{missing, good}, nil},
		{[]string{good, missing}, syscall.ENOENT},
		{[]string{empty}, syscall.ENODATA},
		{[]string{dir}, syscall.EISDIR},
		{[]string{"x\x00y"}, syscall.EINVAL},
	} {
		if err := ReadInChild(t.Context(), time.Minute, tt.paths...); !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.paths, err, tt.want)
		}
	}
}

// TestReadInChildHangs abandons a child that hangs in open(2) of a FIFO. It must not keep this
// process's descriptors open.
func TestReadInChildHangs(t *testing.T) {
	fifo := makeFIFO(t, t.TempDir())
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ReadInChild(ctx, time.Minute, fifo) }()
	time.Sleep(50 * time.Millisecond) // the child hangs, or will soon
	theirs.Close()
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the child has the pipe open: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func BenchmarkReadInChild(b *testing.B) {
	for b.Loop() {
		if err := ReadInChild(b.Context(), time.Minute, "/proc/uptime"); err != nil {
			b.Fatal(err)
		}
	}
}
