package top

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/internal/inject/engine"
)

// fakeMount is a directory that stands for a mounted lxcfs, with the texts of testdata for the
// test's own process.
type fakeMount struct {
	dir       string
	container engine.Container
}

func newFakeMount(t *testing.T) *fakeMount {
	t.Helper()
	m := &fakeMount{t.TempDir(), container}
	m.container.PID = os.Getpid()
	if err := os.MkdirAll(m.path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	m.show(t, "first")
	return m
}

func (m *fakeMount) path(file string) string {
	return filepath.Join(m.dir, "containers", strconv.Itoa(m.container.PID), file)
}

// show replaces its files by those of a directory in testdata.
func (m *fakeMount) show(t *testing.T, dir string) {
	t.Helper()
	for i, text := range testdata(t, dir) {
		if err := os.WriteFile(m.path(files[i]), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// gone returns a container that has ended.
func gone(t *testing.T) engine.Container {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return engine.Container{ID: "gone", PID: cmd.Process.Pid}
}

func TestLooker(t *testing.T) {
	m := newFakeMount(t)
	l := Looker{Mountpoint: m.dir}
	all := []engine.Container{m.container, gone(t), {ID: "parent", PID: os.Getppid()}}
	seen := l.Look(t.Context(), all)
	if len(seen.Rows) != 2 || seen.Err != nil || seen.Rows[0].CPUPercent != nil ||
		*seen.Rows[0].CPUs != 2 {
		t.Errorf("the first look: %+v", seen)
	}
	if seen.Unknown != 1 || seen.Rows[1].isKnown() ||
		!strings.Contains(seen.Note(), "1 of 2 containers") {
		t.Errorf("of a process in no container: %+v", seen)
	}
	m.show(t, "second")
	seen = l.Look(t.Context(), all[:1])
	if len(seen.Rows) != 1 || seen.Note() != "" || seen.Rows[0].CPUPercent == nil ||
		int(*seen.Rows[0].CPUPercent) != 99 {
		t.Errorf("the second look: %+v", seen)
	}
	if err := os.Remove(m.path("stat")); err != nil {
		t.Fatal(err)
	}
	seen = l.Look(t.Context(), all[:1])
	if row := seen.Rows[0]; row.CPUs != nil || row.CPUPercent != nil || row.MemoryUsed == nil ||
		seen.Note() != "" {
		t.Errorf("without stat: %+v", seen)
	}
	if seen = l.Look(t.Context(), nil); len(seen.Rows) != 0 || seen.Note() != "" {
		t.Errorf("no container: %+v", seen)
	}
}

// TestLookerWithoutLxcfs has containers, but no lxcfs.
func TestLookerWithoutLxcfs(t *testing.T) {
	l := Looker{Mountpoint: t.TempDir()}
	own := engine.Container{ID: "own", PID: os.Getpid()}
	seen := l.Look(t.Context(), []engine.Container{own})
	if len(seen.Rows) != 1 || seen.Rows[0].isKnown() ||
		!strings.Contains(seen.Note(), l.Mountpoint+" is not mounted") {
		t.Errorf("%+v, %q", seen, seen.Note())
	}
}

// TestLookerHangs reads a file without end: the sample ends in time.
func TestLookerHangs(t *testing.T) {
	m := newFakeMount(t)
	if err := os.Remove(m.path("loadavg")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(m.path("loadavg"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := Looker{Mountpoint: m.dir}
	started := time.Now()
	seen := l.Look(t.Context(), []engine.Container{m.container})
	if took := time.Since(started); took < fileTime || took > 2*fileTime {
		t.Errorf("the look took %v", took)
	}
	// What was read before is good.
	if row := seen.Rows[0]; row.CPUs == nil || row.MemoryUsed == nil || row.Load != nil ||
		row.Uptime != nil ||
		!strings.Contains(seen.Note(), "does not answer in time") {
		t.Errorf("%+v, %q", row, seen.Note())
	}
}

func TestOnce(t *testing.T) {
	m := newFakeMount(t)
	l := &Looker{Mountpoint: m.dir}
	find := func(context.Context) ([]engine.Container, []engine.Skipped, error) {
		return []engine.Container{
				m.container,
			}, []engine.Skipped{
				{Source: "docker", Error: "too slow"},
			}, nil
	}
	seen, err := Once(t.Context(), find, l, time.Millisecond)
	if err != nil || len(seen.Rows) != 1 || len(seen.Skipped) != 1 {
		t.Errorf("%+v, %v", seen, err)
	}
	want := errors.New("no /proc")
	find = func(context.Context) ([]engine.Container, []engine.Skipped, error) { return nil, nil, want }
	if _, err := Once(t.Context(), find, l, time.Millisecond); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Once(ctx, find, l, time.Hour); err == nil {
		t.Error("no error at the end of the context")
	}
}

// TestWatch takes samples, also while containers cannot be listed.
func TestWatch(t *testing.T) {
	m := newFakeMount(t)
	want := errors.New("no engine")
	find := func(context.Context) ([]engine.Container, []engine.Skipped, error) {
		return []engine.Container{m.container}, nil, want
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	updates := Watch(ctx, find, &Looker{Mountpoint: m.dir}, time.Millisecond)
	for range 3 {
		if seen := <-updates; len(seen.Rows) != 1 || !seen.Rows[0].isKnown() ||
			!errors.Is(seen.Err, want) {
			t.Errorf("%+v", seen)
		}
	}
}
