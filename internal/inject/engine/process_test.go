package engine

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

func TestIsAlive(t *testing.T) {
	p := start(t)
	box := Container{ID: "box", PID: p.pid}
	hourAgo := time.Now().Add(-time.Hour)
	for name, tt := range map[string]struct {
		f    finding
		want bool
	}{
		"now":                         {finding{Container: box}, true},
		"the start":                   {finding{Container: box, started: p.start}, true},
		"an earlier start":            {finding{Container: box, started: p.start - procfs.ClockTick}, false},
		"a later start":               {finding{Container: box, started: p.start + procfs.ClockTick}, false},
		"a start that cannot be":      {finding{Container: box, started: -1}, false},
		"known since":                 {finding{Container: box, known: time.Now()}, true},
		"known before it started":     {finding{Container: box, known: hourAgo}, false},
		"the start counts, not since": {finding{Container: box, started: p.start, known: hourAgo}, true},
		"no process":                  {finding{Container: Container{ID: "box", PID: 1 << 30}}, false},
		"no pid":                      {finding{Container: Container{ID: "box", PID: -1}}, false},
	} {
		if got := isAlive("/proc", &tt.f); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	p.end()
	if isAlive("/proc", &finding{Container: box, started: p.start}) {
		t.Error("it is alive after its end")
	}
}

func TestIsNamedIn(t *testing.T) {
	box := Container{ID: "b0c1"}
	for text, want := range map[string]bool{
		"":                             false,
		"0::/kubepods/pod1/b0c1\n":     true,
		"4:memory:/a\n3:cpu:/b0c1/x\n": true,
		"0::/kubepods.slice/cri-containerd-b0c1.scope\n": true,
		"0::/kubepods.slice/crio-b0c1.scope/init\n":      true,
		"0::/kubepods/b0c1x\n":                           false,
		"0::/kubepods/xb0c1\n":                           false,
		"0::/../b0c1.scope\n":                            true,
	} {
		if got := box.IsNamedIn([]byte(text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := sys.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"), nil)
		if err != nil {
			t.Fatal(err)
		}
		stat, err := procfs.ParseTaskStat(text)
		if err != nil {
			t.Fatal(err)
		}
		if stat.State == 'Z' {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the process does not end")
		}
	}
	if isAlive("/proc", &finding{Container: Container{ID: "box", PID: pid}}) {
		t.Error("the zombie is alive")
	}
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		t.Errorf("it was no zombie: %v", err)
	}
}

// TestIsAliveByTime compares the start of a process with the time at which the pid was written to a
// file. A later start means another process, unless the clock was set and its cgroup is the
// container's.
func TestIsAliveByTime(t *testing.T) {
	proc := fakeProc(t.TempDir())
	age := sys.SinceBoot() / 2 // the machine may have booted a minute ago
	proc.add(t, 7, sys.SinceBoot()-age)
	proc.add(t, 8, sys.SinceBoot()-age)
	write(t, filepath.Join(string(proc), "8/cgroup"), "3:cpu,cpuacct:/kubepods/pod1/box\n0::/\n")
	for _, tt := range []struct {
		name  string
		known time.Duration // ago
		want  bool
	}{
		{"in the future", -time.Hour, true},
		{"now", 0, true},
		{"since", age / 2, true},
		{"a little earlier", age + 30*time.Second, true},
		{"earlier", age + 2*time.Minute, false},
		{"much earlier", 1000 * time.Hour, false},
	} {
		known := time.Now().Add(-tt.known)
		box := finding{Container: Container{ID: "box", PID: 7}, known: known}
		if got := isAlive(string(proc), &box); got != tt.want {
			t.Errorf("known %s: got %v, want %v", tt.name, got, tt.want)
		}
		if !isAlive(string(proc), &finding{Container: Container{ID: "box", PID: 8}, known: known}) {
			t.Errorf("known %s: it is in the container's cgroup, and not alive", tt.name)
		}
		other := finding{Container: Container{ID: "other", PID: 8}, known: known}
		if got := isAlive(string(proc), &other); got != tt.want {
			t.Errorf("known %s: in another's cgroup: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestStartOfRubbish parses texts that are not a /proc/<pid>/stat.
func TestStartOfRubbish(t *testing.T) {
	proc := fakeProc(t.TempDir())
	for i, text := range []string{"", "hello\n", "7 (x) S 1"} {
		write(t, filepath.Join(string(proc), strconv.Itoa(i), "stat"), text)
		if got, ok := startOf(string(proc), i); ok {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
