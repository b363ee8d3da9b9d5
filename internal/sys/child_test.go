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

// TestReadInChild reads files in a process of its own. One that hangs is left behind after its time, and holds nothing of
// this process's open.
func TestReadInChild(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, empty, missing := file("good", "x"), file("empty", ""), filepath.Join(dir, "missing")
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
		if err := ReadInChild(t.Context(), tt.paths...); !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.paths, err, tt.want)
		}
	}

	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ReadInChild(ctx, fifo) }()
	time.Sleep(50 * time.Millisecond) // it hangs now, or will soon
	theirs.Close()
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("somebody holds the pipe: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a process that hangs: %v", err)
	}
}

func BenchmarkReadInChild(b *testing.B) {
	for b.Loop() {
		if err := ReadInChild(b.Context(), "/proc/uptime"); err != nil {
			b.Fatal(err)
		}
	}
}
