package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"palisade/internal/linux/cpulist"
)

// readAll makes each call of the read path once.
func readAll(t *testing.T, g *Group) {
	t.Helper()
	var (
		s   Scratch
		m   Memory
		u   CPUUsage
		set cpulist.Set
	)
	_, quotaErr := g.Quota(&s)
	_, ioErr := g.IO(nil, &s)
	_, totalErr := g.CPUTotal(&s)
	for name, err := range map[string]error{
		"Memory": g.Memory(&m, true, &s), "HugePages": g.HugePages(&m, &s),
		"CPUUsage": g.CPUUsage(&u, &s), "CPUTotal": totalErr, "CPUSet": g.CPUSet(&set, &s), "Quota": quotaErr, "IO": ioErr,
	} {
		if err != nil && !errors.Is(err, ErrNoController) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.Tasks(&s)
}

// hostGroup creates a cgroup below the test's own in the hierarchy of the memory controller, and
// starts a process in it.
func hostGroup(t *testing.T, fs *FS) (*Group, string, *exec.Cmd) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	own, err := fs.ParsePaths(text)
	if err != nil {
		t.Skip(err)
	}
	index := fs.indexOf("memory")
	if index < 0 || own.of[index] == "" {
		t.Skip("no memory controller")
	}
	name := fmt.Sprintf("palisade-test-%d", os.Getpid())
	own.of[index] = filepath.Join(own.of[index], name)
	dir := fs.hierarchies[index].dirOf(own.of[index])
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no cgroup can be created: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	pid := strconv.Itoa(sleep.Process.Pid)
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(pid), 0o600); err != nil {
		t.Skipf("no process can be moved: %v", err)
	}
	g := fs.Open(own)
	t.Cleanup(g.Close)
	return g, dir, sleep
}

// TestThisHost reads a cgroup of the machine that runs the test, and again after it is removed.
func TestThisHost(t *testing.T) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	fs, err := Detect(table, "")
	if err != nil {
		t.Skip(err)
	}
	g, dir, sleep := hostGroup(t, fs)
	readAll(t, g)
	var (
		s Scratch
		m Memory
	)
	if err := g.Memory(&m, true, &s); errors.Is(err, ErrNoController) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if !fs.hierarchies[fs.indexOf("memory")].v2 {
		const limit = 64 << 20
		file := dir + "/memory.limit_in_bytes"
		if err := os.WriteFile(file, []byte(strconv.Itoa(limit)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.Memory(&m, true, &s); err != nil || m.Limit != limit {
			t.Errorf("got a limit of %d, %v; want %d at once", m.Limit, err, limit)
		}
	}
	sleep.Process.Kill()
	sleep.Wait()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := g.Memory(&m, true, &s); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("got %v from a removed cgroup, want ENODEV", err)
	}
}
