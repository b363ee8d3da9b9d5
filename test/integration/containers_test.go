//go:build integration

package integration

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"palisade/test/ctr"
)

// figuresDir returns the directory in which the host's root can read the files of each container.
func figuresDir(d *ctr.Daemon) string { return filepath.Join(d.Mountpoint, "containers") }

// figures returns a file of the container of the process pid, read on the host.
func figures(t *testing.T, pid int, file string) string {
	t.Helper()
	return hostFile(t, filepath.Join(figuresDir(shared.daemon), strconv.Itoa(pid), file))
}

// TestContainerFigures checks that the host reads the same of a container as the container itself.
func TestContainerFigures(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, cgroupNS := range []bool{false, true} {
			c := limited(t, ctr.Options{Runtime: runtime, CgroupNamespace: cgroupNS, Quota: 50000})
			waitForDisks(t, c)
			for _, file := range []string{"cpuinfo", "swaps", "partitions", "diskstats"} {
				got, want := figures(t, c.PID, file), inside(t, c, "cat", "/proc/"+file)
				if withoutMHz(got) != withoutMHz(want) {
					t.Errorf("%s: the host reads %q, the container %q", file, got, want)
				}
			}
			if got := seen(t, figures(t, c.PID, "meminfo")); got != limit {
				t.Errorf("MemTotal %d, want %d", got, limit)
			}
			host, own := strings.Fields(figures(t, c.PID, "stat"))[:12], strings.Fields(inside(t, c, "cat", "/proc/stat"))[:12]
			idle, ownIdle := number(t, host[4]), number(t, own[4])
			if host[11] != own[11] || ownIdle < idle || ownIdle > idle+1000 {
				t.Errorf("stat: the host reads %v, the container %v", host, own)
			}
			up, ownUp := number(t, strings.Fields(figures(t, c.PID, "uptime"))[0]), number(t, strings.Fields(inside(t, c, "cat", "/proc/uptime"))[0])
			if ownUp < up || ownUp > up+10 {
				t.Errorf("uptime: the host reads %v, the container %v", up, ownUp)
			}
			// The count may be a second old, from when cat ran in the container.
			waitFor(t, "1/1 tasks, only the container's init", func() bool { return strings.Fields(figures(t, c.PID, "loadavg"))[3] == "1/1" })
		}
	})
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFiguresByAnyProcess checks that the pid of any process in a container names it.
func TestFiguresByAnyProcess(t *testing.T) {
	first := limited(t, ctr.Options{})
	second := limited(t, ctr.Options{JoinPID: first.PID, Memory: 64 * mib})
	onHost := limited(t, ctr.Options{HostPID: true, Memory: 48 * mib})
	for i, args := range [][]string{{"sleep", "30017"}, {"unshare", "-p", "-f", "sleep", "30018"}, {"unshare", "-m", "sleep", "30019"}} {
		if err := first.ExecStart(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
		var pid int
		waitFor(t, "a process of the container", func() bool {
			pid = processOf("sleep\x00" + strconv.Itoa(30017+i) + "\x00")
			return pid != 0
		})
		if got := seen(t, figures(t, pid, "meminfo")); got != limit {
			t.Errorf("%v: MemTotal %d, want %d", args, got, limit)
		}
	}
	if got := seen(t, figures(t, second.PID, "meminfo")); got != 64*mib {
		t.Errorf("in another container's pid namespace: MemTotal %d, want %d", got, 64*mib)
	}
	if got := seen(t, figures(t, onHost.PID, "meminfo")); got != 48*mib {
		t.Errorf("in the host's pid namespace: MemTotal %d, want %d", got, 48*mib)
	}
	names := listed(t, figuresDir(shared.daemon))
	for _, c := range []*ctr.Container{first, second, onHost} {
		if !slices.Contains(names, strconv.Itoa(c.PID)) {
			t.Errorf("process %d is not listed in %v", c.PID, names)
		}
	}
	files := listed(t, filepath.Join(figuresDir(shared.daemon), strconv.Itoa(first.PID)))
	for _, want := range []string{"cpuinfo", "diskstats", "loadavg", "meminfo", "partitions", "stat", "swaps", "uptime", "vmstat"} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not listed in %v", want, files)
		}
	}
}

func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// processOf returns the pid of the process with a command line, or 0.
func processOf(commandLine string) int {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is valid
	for _, path := range found {
		if text, err := os.ReadFile(path); err == nil && string(text) == commandLine {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// TestHostilePIDs checks that names that are not the pid of a container's process do not exist.
func TestHostilePIDs(t *testing.T) {
	c := limited(t, ctr.Options{})
	inside(t, c, "load", "time", "1", "/proc/meminfo")
	if err := c.ExecStart(t.Context(), "sleep", "30027"); err != nil {
		t.Fatal(err)
	}
	thread := otherThread(t, shared.daemon.PID())
	pid := strconv.Itoa(c.PID)
	for _, name := range []string{
		"0", "1", "2", "-1", "+" + pid, "0" + pid, pid + " ", " " + pid, pid + "\n", pid + "\x01", "self", "thread-self",
		strconv.Itoa(os.Getpid()), strconv.Itoa(shared.daemon.PID()), strconv.Itoa(workerOf(t, shared.daemon)), thread,
		"4194303", "4194304", "4294967297", "18446744073709551617", strings.Repeat("9", 255), "\xff\xfe", "%d", "PID",
	} {
		dir := filepath.Join(figuresDir(shared.daemon), name)
		if _, err := os.Stat(dir); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%q: %v, want ENOENT", name, err)
		}
		if text, err := os.ReadFile(dir + "/meminfo"); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%q: %q, %v, want ENOENT", name, text, err)
		}
	}
	for _, name := range []string{"", "status", "mem", "meminfo/x", "pressure", "../../sys/absent", "meminfo\x01"} {
		path := filepath.Join(figuresDir(shared.daemon), pid, name)
		if text, err := os.ReadFile(path); err == nil {
			t.Errorf("%q: got %q, want an error", name, text)
		}
	}
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREATE | os.O_EXCL, os.O_WRONLY | os.O_TRUNC} {
		if f, err := os.OpenFile(filepath.Join(figuresDir(shared.daemon), pid, "meminfo"), flag, 0o600); err == nil {
			f.Close()
			t.Errorf("meminfo was opened with flags %#x", flag)
		}
	}
	// An exited container is gone, also for a reader with an open file.
	open, err := os.Open(filepath.Join(figuresDir(shared.daemon), pid, "meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if n, err := open.ReadAt(make([]byte, 100), 0); err == nil {
		t.Errorf("read %d bytes of an exited container, want an error", n)
	}
	if _, err := os.Stat(filepath.Join(figuresDir(shared.daemon), pid)); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("exited container: %v, want ENOENT", err)
	}
}

// otherThread returns the id of a thread other than the main thread.
func otherThread(t *testing.T, pid int) string {
	t.Helper()
	for _, tid := range listed(t, filepath.Join("/proc", strconv.Itoa(pid), "task")) {
		if tid != strconv.Itoa(pid) {
			return tid
		}
	}
	t.Fatalf("process %d has a single thread", pid)
	return ""
}

// TestFiguresSurvive checks that open files and directories of a container survive a crash of the
// worker.
func TestFiguresSurvive(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	c := limited(t, ctr.Options{Lxcfs: d.Mountpoint})
	dir := filepath.Join(figuresDir(d), strconv.Itoa(c.PID))
	file, err := os.Open(filepath.Join(dir, "meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	directory, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	text := make([]byte, 64<<10)
	for range ctr.Repeat(5, 20) {
		if n, err := file.ReadAt(text[:100], 0); n != 100 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		killWorker(t, d)
		if n, _ := file.ReadAt(text[100:], 100); seen(t, string(text[:100+n])) != limit || !strings.Contains(string(text[:100+n]), "DirectMap") {
			t.Fatalf("the rest of an open file: %q", text[:100+n])
		}
		if n, _ := file.ReadAt(text, 0); seen(t, string(text[:n])) != limit {
			t.Fatalf("an open file: %q", text[:n])
		}
		if _, err := directory.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		if names, err := directory.Readdirnames(-1); err != nil || !slices.Contains(names, "loadavg") {
			t.Fatalf("an open directory: %v, %v", names, err)
		}
		if got := seen(t, hostFile(t, filepath.Join(dir, "meminfo"))); got != limit {
			t.Fatalf("MemTotal %d, want %d", got, limit)
		}
	}
}
