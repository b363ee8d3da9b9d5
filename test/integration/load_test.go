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

	"palisade/test/ctr"
)

// allFiles are what a container can read.
func allFiles() []string {
	files := []string{ctr.MountDir + "/sys/devices/system/cpu/online"}
	for _, name := range []string{"cpuinfo", "meminfo", "stat", "uptime", "swaps", "diskstats", "partitions", "loadavg"} {
		files = append(files, "/proc/"+name)
	}
	return files
}

// raceDaemon is lxcfs built with the race detector, where there is a compiler; else the ordinary one.
func raceDaemon(t *testing.T) string {
	t.Helper()
	if os.Getenv("PALISADE_LXCFS") != "" {
		return shared.lxcfs
	}
	path := filepath.Join(t.TempDir(), "lxcfs-race")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-buildvcs=false", "-o", path, "palisade/cmd/lxcfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector is in C
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build with -race: %v: %s", err, out)
	}
	return path
}

// TestManyReaders reads all files in 20 containers with 64 threads, for 30 seconds in make soak.
func TestManyReaders(t *testing.T) {
	const containers = 20
	seconds := strconv.Itoa(ctr.Repeat(6, 30))
	d, err := ctr.StartDaemon(t.Context(), raceDaemon(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil { // a race found makes the exit code 66
			t.Errorf("%v: %s", err, d.Log())
		}
	})
	all := make([]*ctr.Container, containers)
	for i := range all {
		all[i] = start(t, ctr.Options{Runtime: []string{"runc", "crun"}[i%2], Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint,
			CgroupNamespace: i%3 == 0, Quota: int64(50000 + 10000*(i%10))})
	}
	var wg sync.WaitGroup
	for i, c := range all {
		threads := 3
		if i < 4 {
			threads = 4 // 64 in all
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
	if log := d.Log(); strings.Contains(log, "DATA RACE") || mistakes(log) > 0 {
		t.Errorf("the daemon's log: %s", log)
	}
}

// mistakes is how many errors a daemon's log has. A machine that stood still for two seconds is none of the daemon's.
func mistakes(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "does not answer") && !strings.Contains(line, "takes too long") {
			n++
		}
	}
	return n
}

// TestDaemonStaysSmall sends a million requests (in make test, a fifth) from 20 containers: neither the
// daemon's memory nor the number of its descriptors may grow.
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
	before, descriptors := residentBytes(t, workerOf(t, d)), openFiles(t, workerOf(t, d))
	read(ctr.Repeat(200_000, 1_000_000) / containers / len(allFiles()) / 4) // each is an open, two reads and a release
	after := residentBytes(t, workerOf(t, d))
	t.Logf("%d kB resident with %d containers, %d kB after the requests; %d descriptors", before/1024, containers, after/1024, descriptors)
	if after > 24*mib {
		t.Errorf("%d kB resident, want less than 24 MiB", after/1024)
	}
	if after > before+2*mib {
		t.Errorf("resident memory went from %d to %d kB", before/1024, after/1024)
	}
	if got := openFiles(t, workerOf(t, d)); got != descriptors {
		t.Errorf("%d open files, before %d", got, descriptors)
	}
}

// workerOf is the process of the daemon that serves.
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

// TestFewFiles has more containers than the daemon may have files open for: it forgets some and finds them again.
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
				t.Errorf("container %d: MemTotal %d", i, got)
			}
			inside(t, c, append([]string{"cat"}, allFiles()...)...)
		}
	}
	if got := openFiles(t, workerOf(t, d)); got > 160 {
		t.Errorf("%d open files", got)
	}
	if mistakes(d.Log()) > 0 {
		t.Errorf("the daemon's log: %s", d.Log())
	}
}
