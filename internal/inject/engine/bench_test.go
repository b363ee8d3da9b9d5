package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkFind finds 200 containers of runc, whose processes are all this one.
func BenchmarkFind(b *testing.B) {
	const n = 200
	dir := b.TempDir()
	proc := filepath.Join(dir, "proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		b.Fatal(err)
	}
	start, ok := startOf("/proc", os.Getpid())
	if !ok {
		b.Fatal("this process is not alive")
	}
	for i := range n {
		pid, id := 1000+i, fmt.Sprintf("c%d", i)
		if err := os.Symlink(fmt.Sprintf("/proc/%d", os.Getpid()), fmt.Sprintf("%s/%d", proc, pid)); err != nil {
			b.Fatal(err)
		}
		write(b, filepath.Join(dir, "run/runc", id, "state.json"), runcState(b, id, pid, start))
	}
	o := Options{
		Run: dir + "/run", Lib: dir + "/lib", Proc: proc,
		Registry: Registry{dir + "/none", proc}, Timeout: 10 * time.Second,
	}
	b.ReportAllocs()
	for b.Loop() {
		if got, skipped := Find(b.Context(), o); len(got) != n || len(skipped) > 0 {
			b.Fatalf("got %d containers, %v", len(got), skipped)
		}
	}
}
