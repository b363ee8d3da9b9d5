//go:build integration

package integration

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci/views"
	"palisade/test/ctr"
)

// callsFilter returns a filter that passes the calls on to the lxcfs of the daemon.
func callsFilter(d *ctr.Daemon) *specs.LinuxSeccomp {
	var linux specs.Linux
	names := []string{"sysinfo", "sched_getaffinity"}
	if err := views.Calls(&linux, names, d.CallsSocket()); err != nil {
		panic(err) // no container has a filter on this processor
	}
	return linux.Seccomp
}

// callsOf returns the results of `load calls` in a container, by name.
func callsOf(t *testing.T, c *ctr.Container, command ...string) map[string]string {
	t.Helper()
	values := make(map[string]string)
	if len(command) == 0 {
		command = []string{"load", "calls"}
	}
	for line := range strings.Lines(inside(t, c, command...)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "affinity" {
			pid, rest, _ := strings.Cut(value, " ")
			name, value = name+" "+pid, rest
		}
		values[name] = value
	}
	return values
}

// TestSysinfo compares the results of sysinfo(2) with the files of lxcfs.
func TestSysinfo(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := start(t, ctr.Options{Runtime: runtime, Memory: 64 * mib, Seccomp: callsFilter(shared.daemon)})
		inside(t, c, "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=8")
		got := callsOf(t, c)
		kB := make(map[string]float64)
		for line := range strings.Lines(inside(t, c, "cat", "/proc/meminfo")) {
			f := strings.Fields(line)
			kB[strings.TrimSuffix(f[0], ":")] = number(t, f[1])
		}
		for name, field := range map[string]string{
			"totalram": "MemTotal", "totalswap": "SwapTotal", "freeswap": "SwapFree", "bufferram": "Buffers",
			"sharedram": "Shmem",
		} {
			if number(t, got[name]) != kB[field]*1024 {
				t.Errorf("%s is %s, but %s %.0f kB", name, got[name], field, kB[field])
			}
		}
		if got["unit"] != "1" || number(t, got["totalram"]) != 64*mib || number(t, got["sharedram"]) < 8*mib {
			t.Errorf("got %v, want 64 MiB in bytes, 8 of them shared", got)
		}
		// Each of the two programs uses memory.
		if free := number(t, got["freeram"]) / 1024; free < kB["MemFree"]-8192 || free > kB["MemFree"]+8192 {
			t.Errorf("freeram is %.0f kB, but MemFree %.0f", free, kB["MemFree"])
		}
		uptime := number(t, strings.Fields(inside(t, c, "cat", "/proc/uptime"))[0])
		if up := number(t, got["uptime"]); up > uptime+1 || up < uptime-60 {
			t.Errorf("uptime is %.0f, but the file's %.2f", up, uptime)
		}
		if procs := number(t, got["procs"]); procs < 2 || procs > 50 {
			t.Errorf("%.0f threads, want those of the container", procs)
		}
	})
}

// TestSysinfoLoad checks that sysinfo(2) has the load averages of /proc/loadavg.
func TestSysinfoLoad(t *testing.T) {
	c := start(t, ctr.Options{Memory: 64 * mib, Seccomp: callsFilter(shared.daemon)})
	if err := c.ExecStart(t.Context(), "load", "burn", "1"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the same load in both", func() bool {
		file := strings.Fields(inside(t, c, "cat", "/proc/loadavg"))[0]
		load := number(t, strings.Fields(callsOf(t, c)["loads"])[0]) / 65536
		return file != "0.00" && fmt.Sprintf("%.2f", load) == file
	})
}

// TestAffinity checks sched_getaffinity(2) with a CPU quota below the cpuset's size.
func TestAffinity(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		filter := callsFilter(shared.daemon)
		free := callsOf(t, start(t, ctr.Options{Runtime: runtime, Seccomp: filter}))["affinity 0"]
		if !strings.HasPrefix(free, "[0 1") {
			t.Fatalf("without a quota the affinity is %s, want that of the machine", free)
		}
		size := strings.Fields(free[strings.Index(free, "]"):])[1]
		c := start(t, ctr.Options{Runtime: runtime, Quota: 100000, Seccomp: filter})
		if err := c.ExecStart(t.Context(), "taskset", "2", "sleep", "1000"); err != nil {
			t.Fatal(err)
		}
		var sleeper string
		waitFor(t, "sleep", func() bool {
			sleeper = strings.TrimSpace(strings.Join(regexp.MustCompile(`(?m)^ *\d+ .*sleep 1000$`).FindAllString(inside(t, c, "ps", "-o", "pid,args"), 1), ""))
			sleeper, _, _ = strings.Cut(sleeper, " ")
			return sleeper != ""
		})
		got := callsOf(t, c, "load", "calls", "1", sleeper, "30000")
		pinned := callsOf(t, c, "taskset", "2", "load", "calls")
		for what, result := range map[string][2]string{
			"the first CPU":              {got["affinity 0"], "[0] " + size + " <nil>"},
			"that of init":               {got["affinity 1"], "[0] " + size + " <nil>"},
			"the narrower mask":          {pinned["affinity 0"], "[1] " + size + " <nil>"},
			"that of another thread":     {got["affinity "+sleeper], "[1] " + size + " <nil>"},
			"an error for a missing one": {got["affinity 30000"], "[] 0 no such process"},
		} {
			if result[0] != result[1] {
				t.Errorf("%s: got %q, want %q", what, result[0], result[1])
			}
		}
		if nproc := strings.TrimSpace(inside(t, c, "nproc")); nproc != "1" {
			t.Errorf("nproc prints %s, want 1", nproc)
		}
	})
}

// TestCallsOf32Bit compares the results of a 32-bit program with those of a 64-bit one in the same
// container, and their sizes with those of the kernel.
func TestCallsOf32Bit(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("a 32-bit program of " + runtime.GOARCH + " is not built")
	}
	t.Setenv("GOARCH", "386")
	program, err := ctr.Program(t.Context(), t.TempDir(), "load32", "palisade/test/load")
	if err != nil {
		t.Fatal(err)
	}
	const load = "/tmp/load32"
	mounts := []specs.Mount{{Destination: load, Type: "bind", Source: program, Options: []string{"bind", "ro"}}}
	native := callsOf(t, start(t, ctr.Options{Mounts: mounts}), load, "calls")
	for _, memory := range []int64{64 * mib, 6 << 30} {
		if field(t, hostFile(t, "/proc/meminfo"), "MemTotal") < uint64(memory) {
			t.Logf("this host has less than %d bytes: the unit of such memory is not checked", memory)
			continue
		}
		c := start(t, ctr.Options{Memory: memory, Quota: 100000, Mounts: mounts, Seccomp: callsFilter(shared.daemon)})
		wide, narrow := callsOf(t, c), callsOf(t, c, load, "calls")
		unit := 1.0
		if number(t, wide["totalram"]) > math.MaxUint32 {
			unit = 4096
		}
		if number(t, narrow["unit"]) != unit {
			t.Errorf("the unit of %s bytes is %s, want %.0f", wide["totalram"], narrow["unit"], unit)
		}
		for _, name := range []string{"totalram", "sharedram", "bufferram", "totalswap", "freeswap"} {
			if want := number(t, wide[name]) / unit; number(t, narrow[name]) != want {
				t.Errorf("%s is %s in units of %.0f, want %.0f", name, narrow[name], unit, want)
			}
		}
		size := strings.Fields(native["affinity 0"][strings.Index(native["affinity 0"], "]"):])[1]
		for name, want := range map[string]string{
			"size": native["size"], "shortest": "[0] 4 <nil>", "affinity 0": "[0] " + size + " <nil>",
		} {
			if narrow[name] != want {
				t.Errorf("%s: got %q, want %q", name, narrow[name], want)
			}
		}
		if got := inside(t, c, load, "badcalls"); got != "failed 0\n" {
			t.Errorf("badcalls: %s", got)
		}
	}
}

// writerOf returns the pid of the daemon's process that writes answers.
func writerOf(t *testing.T, d *ctr.Daemon) int {
	t.Helper()
	var pid int
	waitFor(t, "the writer", func() (ok bool) {
		var err error
		pid, err = d.WriterPID()
		return err == nil
	})
	return pid
}

// underCalls calls do while threads of several containers make calls, and checks all results.
func underCalls(t *testing.T, d *ctr.Daemon, containers int, do func()) {
	t.Helper()
	var all []*ctr.Container
	for i := range containers {
		all = append(all, start(t, ctr.Options{
			Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint, Quota: 100000, Seccomp: callsFilter(d),
		}))
	}
	checkWhile(t, all, `^calls (\d+) wrong 0 <nil>\n$`, do, func(i int) []string {
		return []string{"load", "callers", "2", "2", strconv.Itoa((64 + i) * mib), "1"}
	})
}

// TestCallsSurvive checks that callers do not notice when the worker or the writer is killed.
func TestCallsSurvive(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	underCalls(t, d, ctr.Repeat(5, 50), func() {
		for i := range ctr.Repeat(30, 200) {
			if i%2 == 0 {
				pid := writerOf(t, d)
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Fatal(err)
				}
			}
			killWorker(t, d)
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		}
	})
}

// TestCallsKept checks that callers wait for the next daemon while a service manager stores the
// files, and that a container which is started meanwhile waits, too.
func TestCallsKept(t *testing.T) {
	dir := t.TempDir()
	k, d := startKept(t, dir)
	t.Cleanup(func() {
		if err := errors.Join(d.Stop(), d.Unmount()); err != nil {
			t.Error(err)
		}
	})
	underCalls(t, d, 3, func() {
		for i := range ctr.Repeat(6, 20) {
			end := d.Crash
			if i%2 == 0 {
				end = d.Stop
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			type result struct {
				c   *ctr.Container
				err error
			}
			started := make(chan result, 1)
			if i == 0 {
				go func() {
					c, err := ctr.Start(t.Context(), t.TempDir(), ctr.Options{
						Rootfs: shared.rootfs, ReadOnly: true, Memory: 32 * mib, Seccomp: callsFilter(d),
					})
					started <- result{c, err}
				}()
			}
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			var err error
			if d, err = k.Start(t.Context(), shared.lxcfs, dir); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				r := <-started
				if r.err != nil {
					t.Fatal(r.err)
				}
				defer r.c.Remove()
				if got := callsOf(t, r.c)["totalram"]; got != strconv.Itoa(32*mib) {
					t.Errorf("totalram is %s in a container that was started without a daemon", got)
				}
			}
		}
	})
}

// TestCallsWithoutDaemon checks that callers get the kernel's answers after the daemon has ended.
func TestCallsWithoutDaemon(t *testing.T) {
	for name, end := range map[string]func(*ctr.Daemon) error{
		"stopped": (*ctr.Daemon).Stop, "killed": (*ctr.Daemon).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "") // the path of a socket has at most 107 bytes
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
			if err != nil {
				t.Fatal(err)
			}
			c := start(t, ctr.Options{Memory: 64 * mib, Quota: 100000, Seccomp: callsFilter(d)})
			calls := func() (out string, err error) {
				return c.Exec(t.Context(), "load", "callers", "3", "4", strconv.Itoa(64*mib), "1")
			}
			result := make(chan string)
			go func() {
				out, err := calls()
				result <- fmt.Sprint(out, err)
			}()
			time.Sleep(500 * time.Millisecond)
			if err := end(d); err != nil {
				t.Fatal(err)
			}
			// The rest are the host's values.
			if got := <-result; !regexp.MustCompile(`^calls \d+ wrong \d+ totalram \d+, CPUs \[[\d ]+\]\n<nil>$`).MatchString(strings.ReplaceAll(got, "<nil>, ", "")) {
				t.Errorf("during the end: %q", got)
			}
			// Also those of programs that are executed later, for which runtimes install the filter.
			if out, err := calls(); err != nil || !strings.Contains(out, "wrong") || strings.Contains(out, "not implemented") {
				t.Errorf("after the end: %q, %v", out, err)
			}
			if next, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir); err != nil {
				t.Error(err)
			} else if err := next.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHostileCalls checks that calls with wrong arguments fail as in the kernel, and that no call is
// answered in the memory of another process.
func TestHostileCalls(t *testing.T) {
	c := start(t, ctr.Options{Memory: 256 * mib, Quota: 100000, Seccomp: callsFilter(shared.daemon)})
	seconds := strconv.Itoa(ctr.Repeat(3, 30)) // a command that is run in a container has a minute
	for _, tt := range []struct{ command, want string }{
		{"badcalls", `^failed 0\n$`},
		{"remap " + seconds + " 4", `^calls \d\d+ wrong 0\n$`},
		{"churn " + seconds + " 4", `^killed \d\d+ watched \d\d+ written 0\n$`},
		{"callers 3 1000 " + strconv.Itoa(256*mib) + " 1", `^calls \d\d+ wrong 0 <nil>\n$`},
	} {
		got := inside(t, c, append([]string{"load"}, strings.Fields(tt.command)...)...)
		if !regexp.MustCompile(tt.want).MatchString(got) {
			t.Errorf("%s: %q does not match %s", tt.command, got, tt.want)
		}
	}
}

// TestStuckCalls checks that calls whose results cannot be written delay no other container, nor the
// next worker and writer. A thread that waits for a page of a file on FUSE cannot be killed.
func TestStuckCalls(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	for _, command := range []string{"stick", "hang", "stick", "hang"} { // by userfaultfd(2), and by FUSE
		hostile := start(t, ctr.Options{
			Lxcfs: d.Mountpoint, Capabilities: []string{"CAP_SYS_PTRACE"}, Seccomp: callsFilter(d),
			Devices: []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}},
		})
		if err := hostile.ExecStart(t.Context(), "load", command, "10"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "calls that wait for their memory", func() bool { return strings.Contains(hostile.Log(), "ready") })
	}
	underCalls(t, d, 2, func() {
		killWorker(t, d)
		if err := syscall.Kill(writerOf(t, d), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	})
}

// TestReusedPID kills a caller whose answer is ready, lets another process have its pid, and checks
// that the answer is not written to the memory of that process.
func TestReusedPID(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	c := start(t, ctr.Options{HostPID: true, Seccomp: callsFilter(d)})
	for range 3 {
		logged := len(c.Log())
		if err := c.ExecStart(t.Context(), "load", "reuse"); err != nil {
			t.Fatal(err)
		}
		shown := func(format string, value *int) {
			t.Helper()
			waitFor(t, format, func() bool {
				lines := strings.Split(c.Log()[logged:], "\n")
				return slices.ContainsFunc(lines, func(line string) bool {
					n, _ := fmt.Sscanf(line, format, value)
					return n == 1
				})
			})
		}
		var caller, second, written int
		shown("stopped %d", &caller)
		writer := writerOf(t, d)
		signal(t, writer, syscall.SIGSTOP)
		waitFor(t, "the writer to stop", func() bool { return isStopped(t, writer) })
		before := events(t, writer)
		signal(t, caller, syscall.SIGCONT)
		waitFor(t, "the answer", func() bool { return events(t, writer) > before })
		signal(t, caller, syscall.SIGKILL)
		shown("reused %d", &second)
		if second != caller {
			t.Fatalf("the second process has pid %d, want %d", second, caller)
		}
		signal(t, writer, syscall.SIGCONT)
		if shown("written %d", &written); written != 0 {
			t.Fatal("the answer was written to the memory of the second process")
		}
	}
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// isStopped reports whether all threads of a process are stopped.
func isStopped(t *testing.T, pid int) bool {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(all) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	return !slices.ContainsFunc(all, func(stat string) bool {
		return !strings.Contains(hostFile(t, stat), ") T ")
	})
}

// events returns the sum of the counters of a process's event files.
func events(t *testing.T, pid int) (sum uint64) {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		for _, match := range eventCount.FindAllStringSubmatch(hostFile(t, file), -1) {
			n, err := strconv.ParseUint(match[1], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

var eventCount = regexp.MustCompile(`(?m)^eventfd-count: *([0-9a-f]+)$`)

// writerCapabilities is the set of CAP_DAC_OVERRIDE and CAP_SYS_PTRACE.
const writerCapabilities = 1<<1 | 1<<19

// TestWriterPrivileges is TestWorkerPrivileges for the process that writes answers.
func TestWriterPrivileges(t *testing.T) {
	start(t, ctr.Options{Seccomp: callsFilter(shared.daemon)})
	checkPrivileges(t, writerOf(t, shared.daemon), writerCapabilities)
}
