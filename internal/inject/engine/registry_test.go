package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
)

// found returns the ids and pids in a registry, sorted.
func found(t *testing.T, r Registry) []string {
	t.Helper()
	findings, err := r.findings()
	if err != nil {
		t.Fatal(err)
	}
	return idsOf(findings)
}

func idsOf(findings []finding) []string {
	var texts []string
	for _, f := range findings {
		texts = append(texts, fmt.Sprintf("%s %d", f.ID, f.PID))
	}
	slices.Sort(texts)
	return texts
}

func TestRegistry(t *testing.T) {
	r := Registry{filepath.Join(t.TempDir(), "a/b"), "/proc"}
	if got := found(t, r); got != nil {
		t.Errorf("without a directory: got %q", got)
	}
	a, b := start(t), start(t)
	for _, c := range []struct {
		id string
		*process
	}{{"a", a}, {"b", b}, {"a", a}} {
		if err := r.Add(c.id, c.pid); err != nil {
			t.Fatal(err)
		}
	}
	both := []string{fmt.Sprint("a ", a.pid), fmt.Sprint("b ", b.pid)}
	if got := found(t, r); !slices.Equal(got, both) {
		t.Errorf("got %q, want %q", got, both)
	}
	a.end()
	if got := found(t, r); !slices.Equal(got, both[1:]) {
		t.Errorf("after the end of one: got %q, want %q", got, both[1:])
	}
	entries, err := os.ReadDir(r.Dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != strconv.Itoa(b.pid) {
		t.Errorf("the directory has %v, %v; want %d", entries, err, b.pid)
	}
	if err := r.Add("a", a.pid); err == nil ||
		err.Error() != fmt.Sprintf("process %d has ended", a.pid) {
		t.Errorf("adding one that has ended: got %v", err)
	}
	if info, err := os.Stat(r.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of the directory: got %v, %v; want 0700", info.Mode(), err)
	}
}

// TestRegistryKnowsReusedPIDs compares the start time of the process too.
func TestRegistryKnowsReusedPIDs(t *testing.T) {
	proc := fakeProc(t.TempDir())
	r := Registry{t.TempDir(), string(proc)}
	proc.add(t, 7, time.Hour)
	if err := r.Add("old", 7); err != nil {
		t.Fatal(err)
	}
	proc.add(t, 7, time.Hour+procfs.ClockTick)
	if got := found(t, r); got != nil {
		t.Errorf("got %q", got)
	}
	if exists(t, filepath.Join(r.Dir, "7")) {
		t.Error("the record is still there")
	}
	if err := r.Add("new", 7); err != nil {
		t.Fatal(err)
	}
	if got := found(t, r); !slices.Equal(got, []string{"new 7"}) {
		t.Errorf("got %q, want the new one", got)
	}
}

// TestRegistryWithBadFiles reports each invalid file, and finds and adds other containers.
func TestRegistryWithBadFiles(t *testing.T) {
	proc := fakeProc(t.TempDir())
	r := Registry{t.TempDir(), string(proc)}
	file := func(pid int) string { return filepath.Join(r.Dir, strconv.Itoa(pid)) }
	for pid := range 10 {
		proc.add(t, 100+pid, time.Hour)
	}
	if err := r.Add("good", 100); err != nil {
		t.Fatal(err)
	}
	write(t, file(101), "hello")
	write(t, file(102), "")
	write(t, file(103), `{"id":"half","sta`)
	write(t, file(104), `{"id":"huge","start":1}`+strings.Repeat(" ", maxRecord))
	write(t, file(105), `["x"]`)
	fifo(t, file(106))
	write(t, file(108), `{"id":"no start"}`)
	if err := os.Mkdir(file(107), 0o700); err != nil {
		t.Fatal(err)
	}
	var got []finding
	var err error
	within(t, 10*time.Second, func() {
		for range 20 {
			if err := r.Add("also good", 109); err != nil {
				t.Error(err)
			}
		}
		got, err = r.findings()
	})
	if want := []string{"also good 109", "good 100"}; !slices.Equal(idsOf(got), want) {
		t.Errorf("got %q, want %q", idsOf(got), want)
	}
	for pid := 101; pid <= 108; pid++ {
		if err == nil || !strings.Contains(err.Error(), file(pid)+": ") {
			t.Errorf("%s is not named in %v", file(pid), err)
		}
		if !exists(t, file(pid)) {
			t.Errorf("%s is gone", file(pid))
		}
	}
}

// TestRegistryIsAFile has a file instead of the directory.
func TestRegistryIsAFile(t *testing.T) {
	p := start(t)
	r := Registry{filepath.Join(t.TempDir(), "x"), "/proc"}
	write(t, r.Dir, "")
	if got, err := r.findings(); err == nil || !strings.Contains(err.Error(), r.Dir) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := r.Add("a", p.pid); err == nil || !strings.Contains(err.Error(), r.Dir) {
		t.Errorf("Add: got %v", err)
	}
}

// TestRegistryRemovesAbandonedFiles removes temporary files of hooks that were killed.
func TestRegistryRemovesAbandonedFiles(t *testing.T) {
	r := Registry{t.TempDir(), "/proc"}
	for name, age := range map[string]time.Duration{
		".new-old": 2 * abandoned, ".new-fresh": 0, ".new-younger": abandoned / 2, "other-old": time.Hour, ".new-future": -time.Hour,
	} {
		file := filepath.Join(r.Dir, name)
		write(t, file, "{")
		when := time.Now().Add(-age)
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if got := found(t, r); got != nil {
		t.Errorf("got %q", got)
	}
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{".new-fresh", ".new-future", ".new-younger"}; !slices.Equal(names, want) {
		t.Errorf("left are %q, want %q", names, want)
	}
}

// TestRegistryForgets bounds the directory while containers come and go, and keeps running ones.
func TestRegistryForgets(t *testing.T) {
	t.Parallel()
	proc := fakeProc(t.TempDir())
	r := Registry{t.TempDir(), string(proc)}
	const all, every, most = 1000, 100, 70 // about 15 in the end
	largest := 0
	for i := range all {
		pid := 1000 + i
		proc.add(t, pid, time.Duration(1+i)*procfs.ClockTick)
		if err := r.Add("c", pid); err != nil {
			t.Fatal(err)
		}
		if i%every != 0 {
			proc.remove(t, pid)
		}
		if i%100 == 99 {
			entries, err := os.ReadDir(r.Dir)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(entries))
		}
	}
	if largest > most {
		t.Errorf("the directory had %d files, want at most %d", largest, most)
	}
	if got := found(t, r); len(got) != all/every {
		t.Errorf("got %d containers, want %d", len(got), all/every)
	}
	if entries, err := os.ReadDir(r.Dir); err != nil || len(entries) != all/every {
		t.Errorf("the directory has %d files, %v; want %d", len(entries), err, all/every)
	}
}

// TestRegistryConcurrently adds and reads containers at the same time.
func TestRegistryConcurrently(t *testing.T) {
	t.Parallel()
	proc := fakeProc(t.TempDir())
	r := Registry{filepath.Join(t.TempDir(), "new"), string(proc)}
	const hooks, each = 8, 20
	var wait sync.WaitGroup
	for hook := range hooks {
		wait.Go(func() {
			for i := range each {
				pid := 1 + hook*each + i
				proc.add(t, pid, time.Hour)
				if err := r.Add("c", pid); err != nil {
					t.Error(err)
				}
				if _, err := r.findings(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := found(t, r); len(got) != hooks*each {
		t.Errorf("got %d containers, want %d", len(got), hooks*each)
	}
}
