package sys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChildReader(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("0123456789", 20000) // more than the pipe holds
	good, empty, missing := file("good", "x\n"), file("empty", ""), filepath.Join(dir, "missing")
	tooLong := file("long", long)
	var reader ChildReader
	for range 3 {
		texts, err := reader.Read(t.Context(), []string{good, empty, tooLong, missing, dir, tooLong, good})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []FileText{
			{Text: []byte("x\n")}, {Err: syscall.ENODATA}, {Text: []byte(long[:64<<10])}, {Err: syscall.ENOENT}, {Err: syscall.EISDIR},
			{Text: []byte(long[:64<<10])}, {Text: []byte("x\n")},
		} {
			if got := texts[i]; string(got.Text) != string(want.Text) || !errors.Is(got.Err, want.Err) {
				t.Errorf("file %d: %.20q, %v; want %.20q, %v", i, got.Text, got.Err, want.Text, want.Err)
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

// TestChildReaderHangs reads a file that hangs: what was read before it is good, and one process is left behind at most.
func TestChildReaderHangs(t *testing.T) {
	dir := t.TempDir()
	good, fifo := filepath.Join(dir, "good"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(good, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var reader ChildReader
	for range 3 { // that process can be killed, and is not there any more for the next
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		texts, err := reader.Read(ctx, []string{good, fifo, good})
		cancel()
		if err != nil || string(texts[0].Text) != "x" || !errors.Is(texts[1].Err, context.DeadlineExceeded) ||
			!errors.Is(texts[2].Err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", texts, err)
		}
	}
	reader.Timeout = 2 * time.Second
	if texts, err := reader.Read(t.Context(), []string{good, fifo}); err != nil || string(texts[0].Text) != "x" ||
		!errors.Is(texts[1].Err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", texts, err)
	}
	reader.ended = make(chan struct{}) // one that cannot be killed
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if texts, err := reader.Read(ctx, []string{good}); texts != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside one that hangs: %+v, %v", texts, err)
	}
}
