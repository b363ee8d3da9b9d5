package sys

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChildReader(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("0123456789", 20000) // more than the pipe holds
	good, empty := writeFile(t, dir, "good", "x\n"), writeFile(t, dir, "empty", "")
	missing, tooLong := filepath.Join(dir, "missing"), writeFile(t, dir, "long", long)
	var reader ChildReader
	for range 3 {
		paths := []string{good, empty, tooLong, missing, dir, tooLong, good}
		texts, err := reader.Read(t.Context(), paths)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []FileText{
			{Text: []byte("x\n")}, {Err: syscall.ENODATA}, {Text: []byte(long[:64<<10])},
			{Err: syscall.ENOENT}, {Err: syscall.EISDIR}, {Text: []byte(long[:64<<10])},
			{Text: []byte("x\n")},
		} {
			got := texts[i]
			if string(got.Text) != string(want.Text) || !errors.Is(got.Err, want.Err) {
				t.Errorf("%s: got %.20q, %v; want %.20q, %v",
					paths[i], got.Text, got.Err, want.Text, want.Err)
			}
		}
	}
	if texts, err := reader.Read(t.Context(), nil); len(texts) != 0 || err != nil {
		t.Errorf("no file: %v, %v", texts, err)
	}
	if _, err := reader.Read(t.Context(), []string{"x\x00y"}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a path with a NUL byte: %v", err)
	}
}

// TestChildReaderHangs reads a FIFO without a writer: the files before it are read, and at most one
// child is abandoned at a time.
func TestChildReaderHangs(t *testing.T) {
	dir := t.TempDir()
	good, fifo := writeFile(t, dir, "good", "x"), makeFIFO(t, dir)
	var reader ChildReader
	read := func(ctx context.Context, paths ...string) {
		t.Helper()
		texts, err := reader.Read(ctx, paths)
		if err != nil || string(texts[0].Text) != "x" {
			t.Fatalf("got %+v, %v", texts, err)
		}
		for _, text := range texts[1:] {
			if !errors.Is(text.Err, context.DeadlineExceeded) {
				t.Errorf("got %+v, want %v", text, context.DeadlineExceeded)
			}
		}
	}
	for range 3 { // the child can be killed, so that the next Read need not wait
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		read(ctx, good, fifo, good)
		cancel()
	}
	reader.Timeout = 2 * time.Second
	read(t.Context(), good, fifo)
	reader.ended = make(chan struct{}) // a child that cannot be killed
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	texts, err := reader.Read(ctx, []string{good})
	if texts != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside an abandoned child: %+v, %v", texts, err)
	}
}
