package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/linux/cpulist"
)

const (
	v2Mount  = "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Memory = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	v1CPU    = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	v1Set    = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	v1IO     = "35 31 0:32 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
	v1Pids   = "36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	v1Name   = "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	hybrid   = "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	allV1    = v1Memory + v1CPU + v1Set + v1IO + v1Pids + v1Name

	v1Dir = "/sys/fs/cgroup/"
	v2Dir = "/sys/fs/cgroup"
)

// tree creates the files below a new root, and returns the FS of the mount table with that root.
func tree(t testing.TB, mounts string, files map[string]string) (*FS, string) {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := Detect([]byte(mounts), root)
	if err != nil {
		t.Fatal(err)
	}
	return fs, root
}

// open opens the group at path in all hierarchies.
func open(t testing.TB, fs *FS, path string) *Group {
	t.Helper()
	p := Paths{make([]string, len(fs.hierarchies))}
	for i := range p.of {
		p.of[i] = path
	}
	g := fs.Open(p)
	t.Cleanup(g.Close)
	return g
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMissingControllers(t *testing.T) {
	fs, _ := tree(t, v1Memory, map[string]string{v1Dir + "memory/c/cgroup.procs": ""})
	g := open(t, fs, "/c")
	var s Scratch
	_, ioErr := g.IO(nil, &s)
	_, quotaErr := g.Quota(&s)
	_, threadsErr := threadsOf(g, nil, 10)
	for name, err := range map[string]error{
		"memory": g.Memory(new(Memory), true, &s), "I/O": ioErr, "quota": quotaErr,
		"cpuset": g.CPUSet(new(cpulist.Set), &s), "CPU usage": g.CPUUsage(new(CPUUsage), &s),
	} {
		if !errors.Is(err, ErrNoController) {
			t.Errorf("%s: %v, want ErrNoController", name, err)
		}
	}
	if threadsErr == nil {
		t.Error("threads of a missing cgroup were listed")
	}
	if _, ok := g.Tasks(&s); ok {
		t.Error("tasks were counted without the pids controller")
	}
	if _, ok := g.PressurePath("cpu"); ok {
		t.Error("v1 has a pressure file")
	}
}

// TestControllerEnabledLater enables a controller after its file was found missing.
func TestControllerEnabledLater(t *testing.T) {
	fs, root := tree(t, v2Mount, map[string]string{v2Dir + "/c/cpu.stat": ""})
	g := open(t, fs, "/c")
	var s Scratch
	if got, err := g.Quota(&s); err != nil || got.IsSet() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := os.WriteFile(root+v2Dir+"/c/cpu.max", []byte("50000 100000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range g.chains[0] { // as if missingTime had passed
		g.chains[0][i].files[fileCPUMax].Store(&openedFile{})
	}
	if got, err := g.Quota(&s); err != nil || got.Usec != 50000 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// threadsOf lists at most limit threads, with enough time.
func threadsOf(g *Group, dst []int, limit int) ([]int, error) {
	return g.Threads(dst, limit, time.Now().Add(time.Minute), new(Scratch))
}

func TestThreads(t *testing.T) {
	files := map[string]string{
		v2Dir + "/c/cgroup.threads":            "1\n2\n",
		v2Dir + "/c/init.scope/cgroup.threads": "3\n",
		v2Dir + "/c/a/b/cgroup.threads":        "4\nx\n0\n-5\n99999999999\n",
		v2Dir + "/c/a/cgroup.threads":          "",
		v2Dir + "/d/cgroup.threads":            "9\n",
	}
	fs, _ := tree(t, v2Mount, files)
	g := open(t, fs, "/c")
	got, err := threadsOf(g, nil, 100)
	sum := 0
	for _, tid := range got {
		sum += tid
	}
	if err != nil || len(got) != 4 || sum != 10 {
		t.Errorf("got %v, %v; want 1 to 4", got, err)
	}
	got, err = threadsOf(g, []int{7}, 2)
	if err != nil || len(got) != 3 || got[0] != 7 {
		t.Errorf("got %v, %v; want 7 and two others", got, err)
	}
	path, ok := g.PressurePath("io")
	if !ok || !strings.HasSuffix(path, v2Dir+"/c/io.pressure") {
		t.Errorf("got pressure file %q, %v", path, ok)
	}
	if _, ok := open(t, fs, "/").PressurePath("io"); ok {
		t.Error("the root cgroup has a pressure file")
	}
}

// warm returns a group with all the files of v1 or v2.
func warm(t testing.TB, v2 bool) *Group {
	t.Helper()
	if v2 {
		files := map[string]string{
			v2Dir + "/a/b/io.stat":               testdata(t, "v2-6.1/io.stat"),
			v2Dir + "/a/b/cpuset.cpus.effective": "0-3\n",
			v2Dir + "/a/b/cpu.stat":              testdata(t, "v2-6.18/cpu.stat"),
			v2Dir + "/a/b/memory.stat":           testdata(t, "v2-6.18/memory.stat"),
			v2Dir + "/a/b/memory.current":        "1\n",
			v2Dir + "/a/b/memory.swap.current":   "1\n",
		}
		for _, dir := range []string{v2Dir + "/a", v2Dir + "/a/b"} {
			files[dir+"/memory.max"] = "max\n"
			files[dir+"/memory.swap.max"] = "max\n"
			files[dir+"/cpu.max"] = "5 10\n"
		}
		fs, _ := tree(t, v2Mount, files)
		return open(t, fs, "/a/b")
	}
	files := make(map[string]string)
	entries, err := os.ReadDir("testdata/v1-6.18")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		controller, _, _ := strings.Cut(e.Name(), ".")
		dir := map[string]string{"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}[controller]
		if dir == "" {
			dir = controller
		}
		files[v1Dir+dir+"/a/b/"+e.Name()] = testdata(t, "v1-6.18/"+e.Name())
	}
	const throttle = "blkio.throttle.io_serviced_recursive"
	files[v1Dir+"blkio/a/b/"+throttle] = testdata(t, "v1-5.10/"+throttle)
	fs, _ := tree(t, allV1, files)
	return open(t, fs, "/a/b")
}

// TestReadsDoNotAllocate checks that calls on the read path do not allocate, except the first ones.
func TestReadsDoNotAllocate(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		g := warm(t, v2)
		var (
			s   Scratch
			m   Memory
			set cpulist.Set
			u   CPUUsage
			io  []DeviceIO
			err error
		)
		for name, read := range map[string]func() error{
			"Memory":   func() error { return g.Memory(&m, true, &s) },
			"CPUSet":   func() error { return g.CPUSet(&set, &s) },
			"CPUUsage": func() error { return g.CPUUsage(&u, &s) },
			"CPUTotal": func() error { _, err := g.CPUTotal(&s); return err },
			"Quota":    func() error { _, err := g.Quota(&s); return err },
			"IO":       func() error { io, err = g.IO(io[:0], &s); return err },
		} {
			if err := read(); err != nil {
				t.Fatalf("%s, v2 %v: %v", name, v2, err)
			}
			allocs := testing.AllocsPerRun(50, func() { err = read() })
			if allocs != 0 || err != nil {
				t.Errorf("%s, v2 %v: %v allocations, %v", name, v2, allocs, err)
			}
		}
	}
}

func TestConcurrentReaders(t *testing.T) {
	g := warm(t, true)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var s Scratch
			var m Memory
			for range 200 {
				if err := g.Memory(&m, true, &s); err != nil || m.Stat.Anon != 41943040 {
					t.Errorf("%+v, %v", m, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMemory(b *testing.B) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		b.Run(name, func(b *testing.B) {
			g := warm(b, v2)
			var s Scratch
			var m Memory
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Memory(&m, true, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestDeepCgroup nests cgroups deeper than maxLevels: the limit of the topmost one must apply.
func TestDeepCgroup(t *testing.T) {
	const top = v2Dir + "/top"
	deep := "/top" + strings.Repeat("/d", 100)
	fs, _ := tree(t, v2Mount, map[string]string{
		top + "/cpu.max": "50000 100000\n", v2Dir + deep + "/cpu.max": "max 100000\n",
	})
	g := open(t, fs, deep)
	if n := len(g.chains[0]); n != maxLevels {
		t.Errorf("%d levels, want %d", n, maxLevels)
	}
	if got, err := g.Quota(new(Scratch)); err != nil || got.Usec != 50000 {
		t.Errorf("got %+v, %v", got, err)
	}
	if !strings.HasSuffix(g.chains[0][0].dir, deep) {
		t.Errorf("the first level is %s", g.chains[0][0].dir)
	}
}

// TestThreadsDeadline lists threads after the deadline: the cgroups must be read up to the first
// thread.
func TestThreadsDeadline(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/c/cgroup.threads": "1\n2\n", v2Dir + "/c/below/cgroup.threads": "3\n",
		v2Dir + "/d/cgroup.threads": "", v2Dir + "/d/a/cgroup.threads": "",
		v2Dir + "/d/a/b/cgroup.threads": "4\n", v2Dir + "/d/a/b/c/cgroup.threads": "5\n",
	})
	g := open(t, fs, "/c")
	for path, want := range map[string][]int{"/c": {9, 1, 2}, "/d": {9, 4}} {
		got, err := open(t, fs, path).Threads(
			[]int{9}, 100, time.Now().Add(-time.Second), new(Scratch))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", path, got, err, want)
		}
	}
	if got, err := threadsOf(g, nil, 100); err != nil || len(got) != 3 {
		t.Errorf("with time left: %v, %v", got, err)
	}
}
