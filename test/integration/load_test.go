//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/test/ctr"
)

// allFiles returns the files that a container can read.
func allFiles() []string {
	files := []string{ctr.MountDir + "/sys/devices/system/cpu/online"}
	for _, name := range []string{"cpuinfo", "meminfo", "stat", "uptime", "swaps", "diskstats", "partitions", "loadavg", "vmstat"} {
		files = append(files, "/proc/"+name)
	}
	return files
}

// raceDaemon returns an lxcfs built with the race detector, or in the virtual machine the normal
// one.
func raceDaemon(t *testing.T) string {
	t.Helper()
	if os.Getenv("PALISADE_LXCFS") != "" {
		return shared.lxcfs
	}
	path := filepath.Join(t.TempDir(), "lxcfs-race")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-buildvcs=false", "-o", path, "palisade/cmd/lxcfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=1") // for the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build with -race: %v: %s", err, out)
	}
	return path
}

// TestManyReaders checks the texts that 64 threads in 20 containers read, for 30 seconds in make
// soak.
func TestManyReaders(t *testing.T) {
	const containers = 20
	seconds := strconv.Itoa(ctr.Repeat(6, 30))
	d := ctr.NewDaemon(t, raceDaemon(t), t.TempDir()) // the exit code is 66 after a data race
	all := make([]*ctr.Container, containers)
	for i := range all {
		all[i] = start(t, ctr.Options{Runtime: []string{"runc", "crun"}[i%2], Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint,
			CgroupNamespace: i%3 == 0, Quota: int64(50000 + 10000*(i%10))})
	}
	var wg sync.WaitGroup
	for i, c := range all {
		threads := 3
		if i < 4 {
			threads = 4 // 64 in total
		}
		wg.Go(func() {
			out, err := c.Exec(t.Context(), append([]string{"load", "check", seconds, strconv.Itoa(threads)}, allFiles()...)...)
			found := regexp.MustCompile(`^reads (\d+) wrong 0\n$`).FindStringSubmatch(out)
			if err != nil || found == nil || len(found[1]) < 2 {
				t.Errorf("container %d: %q: %v", i, out, err)
			}
		})
	}
	wg.Wait()
	if log := d.Log(); strings.Contains(log, "DATA RACE") || countErrors(log) > 0 {
		t.Errorf("the daemon's log: %s", log)
	}
}

// countErrors counts the errors in a daemon's log, except those that a stalled machine causes.
func countErrors(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "does not answer") && !strings.Contains(line, "takes too long") {
			n++
		}
	}
	return n
}

// TestDaemonStaysSmall sends a million requests (in make test, a fifth) from 20 containers: neither
// the daemon's memory nor the number of its descriptors may grow.
func TestDaemonStaysSmall(t *testing.T) {
	const containers = 20
	d := newDaemon(t, t.TempDir())
	all := make([]*ctr.Container, containers)
	for i := range all {
		all[i] = start(t, ctr.Options{Memory: 64 * mib, Lxcfs: d.Mountpoint})
	}
	read := func(times int) {
		t.Helper()
		for _, c := range all {
			inside(t, c, append([]string{"load", "time", strconv.Itoa(times)}, allFiles()...)...)
		}
	}
	read(200)
	before, descriptors := residentBytes(t, workerOf(t, d)), keptFiles(t, workerOf(t, d))
	read(ctr.Repeat(200_000, 1_000_000) / containers / len(allFiles()) / 4) // each is an open, two reads and a release
	after := residentBytes(t, workerOf(t, d))
	t.Logf("%d kB resident with %d containers, %d kB after the requests; %d descriptors", before/1024, containers, after/1024, descriptors)
	if after > 24*mib {
		t.Errorf("%d kB resident, want less than 24 MiB", after/1024)
	}
	if after > before+2*mib {
		t.Errorf("resident memory grew from %d to %d kB", before/1024, after/1024)
	}
	if got := keptFiles(t, workerOf(t, d)); got != descriptors {
		t.Errorf("got %d open files, want %d", got, descriptors)
	}
}

// workerOf returns the pid of the daemon's worker.
func workerOf(t *testing.T, d *ctr.Daemon) int {
	t.Helper()
	pid, err := d.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func residentBytes(t *testing.T, pid int) uint64 {
	t.Helper()
	return field(t, hostFile(t, fmt.Sprintf("/proc/%d/status", pid)), "VmRSS")
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// keptFiles returns the number of files that a process keeps open: the lowest of several counts, as
// others are open for a moment only.
func keptFiles(t *testing.T, pid int) int {
	t.Helper()
	lowest := openFiles(t, pid)
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		lowest = min(lowest, openFiles(t, pid))
	}
	return lowest
}

// TestFewFiles checks that the daemon serves more containers than its limit of open files allows it
// to keep open.
func TestFewFiles(t *testing.T) {
	d := startLimited(t, 160)
	const containers = 10
	all := make([]*ctr.Container, containers)
	for i := range all {
		all[i] = start(t, ctr.Options{Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint})
	}
	for range 3 {
		for i, c := range all {
			if got := memory(t, c, "MemTotal"); got != uint64(64+i)*mib {
				t.Errorf("container %d: MemTotal %d, want %d", i, got, uint64(64+i)*mib)
			}
			inside(t, c, append([]string{"cat"}, allFiles()...)...)
		}
	}
	if got := openFiles(t, workerOf(t, d)); got > 160 {
		t.Errorf("got %d open files, want at most 160", got)
	}
	if countErrors(d.Log()) > 0 {
		t.Errorf("the daemon's log: %s", d.Log())
	}
}
