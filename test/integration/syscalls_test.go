//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"palisade/test/ctr"
)

// systemCalls returns the number of system calls of the worker per read of a file in the container,
// by name, without those on /dev/fuse, of the Go runtime, and of the watchdog, whose timer ends often
// on a slow machine.
func systemCalls(t *testing.T, d *ctr.Daemon, c *ctr.Container, file string) map[string]float64 {
	t.Helper()
	const rounds = 300
	worker := workerOf(t, d)
	log := filepath.Join(t.TempDir(), "strace")
	strace := exec.Command("strace", "-f", "-qq", "-y", "-o", log, "-p", strconv.Itoa(worker))
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "strace", func() bool {
		return !strings.Contains(hostFile(t, filepath.Join("/proc", strconv.Itoa(worker), "status")), "TracerPid:\t0\n")
	})
	inside(t, c, "load", "time", strconv.Itoa(rounds), file)
	strace.Process.Signal(os.Interrupt)
	strace.Wait() // returns the signal
	calls := make(map[string]float64)
	call := regexp.MustCompile(`(?m)^\d+ +(\w+)\((?:\d+<([^>]*)>)?`)
	for _, found := range call.FindAllStringSubmatch(hostFile(t, log), -1) {
		if found[2] != "/dev/fuse" && !strings.Contains(found[2], "[timerfd]") &&
			!runtimeCalls.MatchString(found[1]) {
			calls[found[1]] += 1. / (rounds + rounds/10)
		}
	}
	return calls
}

// runtimeCalls matches system calls of the Go runtime to schedule threads and collect garbage.
var runtimeCalls = regexp.MustCompile(`^(futex|nanosleep|epoll_pwait|sched_yield|madvise|restart_syscall|tgkill|getpid|rt_sigreturn)$`)

// TestSystemCalls checks the number of system calls of a warm read, and that it needs no open and
// no fork.
func TestSystemCalls(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	c := start(t, ctr.Options{Lxcfs: d.Mountpoint, Memory: 64 * mib, Quota: 150000, CgroupNamespace: true})
	// Three calls of each identify the reader, by the links of its pid and mount namespaces and of
	// init's mount namespace. cpuinfo reads the quota, its period and the cpuset: a change shows in
	// the next read. On v1, two files have the CPU times, and up to four the I/O in diskstats and
	// vmstat. stat and uptime also read the link of the reader's time namespace.
	for file, most := range map[string]float64{
		"meminfo": 6, "cpuinfo": 6, "stat": 10, "uptime": 10, "swaps": 6, "loadavg": 5, "diskstats": 7, "vmstat": 11,
	} {
		t.Run(file, func(t *testing.T) {
			calls := systemCalls(t, d, c, "/proc/"+file)
			var sum float64
			var list []string
			for name, n := range calls {
				// The container is looked up again every second, which on a slow machine means many
				// calls per read.
				if n < 0.5 {
					continue
				}
				sum += n
				list = append(list, fmt.Sprintf("%s %.1f", name, n))
				if regexp.MustCompile("^(open|clone|fork|vfork|exec)").MatchString(name) {
					t.Errorf("got %.2f calls of %s per read, want none", n, name)
				}
			}
			slices.Sort(list)
			if t.Logf("%.1f calls per read: %s", sum, list); sum > most+1 || sum < 1 {
				t.Errorf("got %.1f system calls per read, want at most %.0f: %s", sum, most, list)
			}
		})
	}
}
