//go:build integration

package integration

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/test/ctr"
)

// addMembers starts containers and reads all files once in each.
func addMembers(t *testing.T, crowd *ctr.Crowd, d *ctr.Daemon, n int) []*ctr.Member {
	t.Helper()
	members := make([]*ctr.Member, 0, n)
	files := []string{filepath.Join(d.Mountpoint, "sys/devices/system/cpu/online")}
	for _, name := range []string{"cpuinfo", "meminfo", "stat", "uptime", "swaps", "diskstats", "partitions", "loadavg", "vmstat"} {
		files = append(files, filepath.Join(d.Mountpoint, "proc", name))
	}
	for range n {
		m, err := crowd.Add()
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
		out, err := m.Run("cat", files...)
		if err != nil || !strings.Contains(out, "MemTotal:") {
			t.Fatalf("container %d: %q: %v", m.PID, out, err)
		}
	}
	return members
}

func removeMembers(t *testing.T, members []*ctr.Member) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() {
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func newCrowd(t *testing.T) *ctr.Crowd {
	t.Helper()
	crowd, err := ctr.NewCrowd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := crowd.Close(); err != nil {
			t.Error(err)
		}
	})
	return crowd
}

func threadsOf(t *testing.T, pid int) int {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has %d threads, %v", pid, len(threads), err)
	}
	return len(threads)
}

// TestThousandContainers checks that a daemon that serves a thousand containers (in make test, 250)
// has few threads and a small resident set.
func TestThousandContainers(t *testing.T) {
	const maxThreads = 24 // besides two for each CPU
	containers := ctr.Repeat(250, 1000)
	maxMemory := uint64(20*mib + containers*mib/50)
	d := newDaemon(t, t.TempDir())
	members := addMembers(t, newCrowd(t), d, containers)
	defer removeMembers(t, members)
	time.Sleep(6 * time.Second) // until the load averages have been sampled
	worker := workerOf(t, d)
	rss := residentBytes(t, worker) + residentBytes(t, d.PID())
	threads := threadsOf(t, worker) + threadsOf(t, d.PID())
	t.Logf("%d kB resident, %d threads, %d files", rss/1024, threads, openFiles(t, worker))
	if rss > maxMemory {
		t.Errorf("%d kB resident, want at most %d", rss/1024, maxMemory/1024)
	}
	if threads > maxThreads+2*runtime.NumCPU() {
		t.Errorf("got %d threads, want at most %d", threads, maxThreads+2*runtime.NumCPU())
	}
	if status := hostFile(t, filepath.Join(d.Mountpoint, "status")); !regexp.MustCompile(`"containers": ?` + strconv.Itoa(containers) + `\b`).MatchString(status) {
		t.Errorf("got status %s, want %d containers", status, containers)
	}
}

// TestContainersLeaveNothing checks that memory, files and threads do not grow with the number of
// containers that have come and gone.
func TestContainersLeaveNothing(t *testing.T) {
	rounds, perRound := ctr.Repeat(5, 10), ctr.Repeat(60, 200)
	const (
		// Tolerances for the Go runtime. 2 KB or a hundredth of a thread per container would exceed
		// them.
		moreMemory, moreThreads = 4 * mib, 8
	)
	d := newDaemon(t, t.TempDir())
	crowd := newCrowd(t)
	round := func() {
		t.Helper()
		removeMembers(t, addMembers(t, crowd, d, perRound))
	}
	worker := workerOf(t, d)
	known := regexp.MustCompile(`"containers": ?0\b`)
	settle := func() {
		t.Helper()
		waitFor(t, "the end of all containers", func() bool { return known.MatchString(hostFile(t, filepath.Join(d.Mountpoint, "status"))) })
	}
	round()
	round()
	settle()
	rss, files, threads := residentBytes(t, worker), keptFiles(t, worker), threadsOf(t, worker)
	for range rounds {
		round()
	}
	settle()
	t.Logf("%d containers: from %d to %d kB, %d to %d files, %d to %d threads", rounds*perRound, rss/1024, residentBytes(t, worker)/1024,
		files, openFiles(t, worker), threads, threadsOf(t, worker))
	if got := residentBytes(t, worker); got > rss+moreMemory {
		t.Errorf("resident memory grew from %d to %d kB", rss/1024, got/1024)
	}
	if got := keptFiles(t, worker); got != files {
		t.Errorf("got %d open files, want %d", got, files)
	}
	if got := threadsOf(t, worker); got > threads+moreThreads {
		t.Errorf("got %d threads, want at most %d", got, threads+moreThreads)
	}
}
