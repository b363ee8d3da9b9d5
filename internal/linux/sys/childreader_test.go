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
	// read doubles the time limit until it suffices for the first file.
	read := func(within func(time.Duration) context.Context, paths ...string) {
		t.Helper()
		for limit := 50 * time.Millisecond; ; limit *= 2 {
			texts, err := reader.Read(within(limit), paths)
			if err != nil && limit < time.Minute {
				continue // the last child is still being killed
			}
			if err != nil || texts[0].Err == nil && string(texts[0].Text) != "x" {
				t.Fatalf("got %+v, %v", texts, err)
			}
			for _, text := range texts[1:] {
				if !errors.Is(text.Err, context.DeadlineExceeded) {
					t.Errorf("got %+v, want %v", text, context.DeadlineExceeded)
				}
			}
			if texts[0].Err == nil {
				return
			}
		}
	}
	for range 3 { // the child can be killed, so that the next Read need not wait
		read(func(limit time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			t.Cleanup(cancel)
			return ctx
		}, good, fifo, good)
	}
	read(func(limit time.Duration) context.Context {
		reader.Timeout = limit
		return t.Context()
	}, good, fifo)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	reader.Timeout = time.Minute
	texts, err := reader.Read(ctx, []string{fifo})
	if err == nil {
		err = texts[0].Err
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %+v, %v", texts, err)
	}
	reader.ended = make(chan struct{}) // a child that cannot be killed
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	texts, err = reader.Read(ctx, []string{good})
	if texts != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside an abandoned child: %+v, %v", texts, err)
	}
}
