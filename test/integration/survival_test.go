//go:build integration

package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// underLoad has threads read all files in several containers, while something is done to the daemon: not one read may fail,
// no text be wrong, no counter fall.
func underLoad(t *testing.T, d *ctr.Daemon, do func()) {
	t.Helper()
	const containers, threads = 3, 3
	var all []*ctr.Container
	for i := range containers {
		all = append(all, start(t, ctr.Options{
			Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint, CgroupNamespace: i == 0, Quota: int64(50000 * i),
		}))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() {
			for reads := 0; ; {
				out, err := c.Exec(t.Context(), append([]string{"load", "check", "1", strconv.Itoa(threads)}, allFiles()...)...)
				found := regexp.MustCompile(`^reads (\d+) wrong 0\n$`).FindStringSubmatch(out)
				if err != nil || found == nil {
					t.Errorf("container %d: %q: %v", i, out, err)
					return
				}
				n, _ := strconv.Atoi(found[1])
				if reads += n; isClosed(stop) {
					t.Logf("container %d: %d reads", i, reads)
					return
				}
			}
		})
	}
	do()
	close(stop)
	wg.Wait()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// killWorker kills the process that serves, and waits until it is another one.
func killWorker(t *testing.T, d *ctr.Daemon) {
	t.Helper()
	pid := workerOf(t, d)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	waitForWorker(t, d, pid)
}

// waitForWorker waits until another process serves than that.
func waitForWorker(t *testing.T, d *ctr.Daemon, old int) {
	t.Helper()
	waitFor(t, "another worker", func() bool {
		pid, err := d.WorkerPID()
		return err == nil && pid != old
	})
}

// TestWorkerKilled kills the worker 200 times at random moments.
func TestWorkerKilled(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	underLoad(t, d, func() {
		for range 200 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			killWorker(t, d)
		}
	})
}

// TestWorkerHangs stops the worker: it is replaced, and nobody gets an error.
func TestWorkerHangs(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	underLoad(t, d, func() {
		for range 2 {
			pid := workerOf(t, d)
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			waitForWorker(t, d, pid)
			hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
		}
	})
	if !strings.Contains(d.Log(), "does not answer") {
		t.Errorf("no word of it in %s", d.Log())
	}
}

// TestUpgrade has the worker replaced 50 times by one of the program on disk; one that does not start is given up.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "lxcfs-on-disk")
	replace := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(program+".new", text, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(shared.lxcfs)
	if err != nil {
		t.Fatal(err)
	}
	replace(text)
	d, err := ctr.StartDaemon(t.Context(), program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	underLoad(t, d, func() {
		for i := range 50 {
			replace(text)
			old := workerOf(t, d)
			if err := d.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the next worker", func() bool {
				pid, err := d.WorkerPID()
				_, gone := os.Stat("/proc/" + strconv.Itoa(old))
				return err == nil && pid != old && gone != nil
			})
			if i%10 == 0 {
				killWorker(t, d) // of the new program
			}
		}
		for _, broken := range []string{"#!/bin/sh\nexit 1\n", "", "#!/bin/sh\nexec sleep 1000\n"} {
			replace([]byte(broken))
			old := workerOf(t, d)
			said := len(d.Log())
			if err := d.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the end of the upgrade", func() bool { return strings.Contains(d.Log()[said:], "given up") })
			if pid := workerOf(t, d); pid != old {
				t.Errorf("process %d serves, not %d", pid, old)
			}
		}
		killWorker(t, d) // there is another of the program that served
	})
}

// TestKeptMount kills and stops the supervisor, and so the worker with it, while a service manager keeps the files: who
// reads waits for the next one.
func TestKeptMount(t *testing.T) {
	dir := t.TempDir()
	k, err := ctr.NewKeeper(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := k.Start(t.Context(), shared.lxcfs, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		k.Close()
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	files := k.Len()
	if files < 6 {
		t.Fatalf("%d files are kept", files)
	}
	underLoad(t, d, func() {
		for i := range 20 {
			if i%3 == 0 {
				err = d.Stop()
			} else {
				err = d.Crash()
			}
			if err != nil {
				t.Fatal(err)
			}
			if d, err = k.Start(t.Context(), shared.lxcfs, dir); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		}
	})
	if got := mountsOn(t, d.Mountpoint); got != 1 || k.Len() != files {
		t.Errorf("%d mounts, %d files are kept, want 1 and %d", got, k.Len(), files)
	}
}

// TestStateIsLost takes the runtime folder away under a daemon that is killed: counters start anew, all else goes on.
func TestStateIsLost(t *testing.T) {
	dir := t.TempDir()
	d := newDaemon(t, dir)
	c := start(t, ctr.Options{Memory: limit, Lxcfs: d.Mountpoint})
	cpuTimes(t, c, "cpu")
	for _, lose := range []func(file string) error{
		os.Remove,
		func(file string) error { return os.Truncate(file, 0) },
		func(file string) error { return os.Truncate(file, 100000) },
	} {
		files, err := filepath.Glob(filepath.Join(dir, "run/*/guests"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%q, %v", files, err)
		}
		pid := workerOf(t, d)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := lose(files[0]); err != nil {
			t.Fatal(err)
		}
		waitForWorker(t, d, pid)
		if got := memory(t, c, "MemTotal"); got != limit {
			t.Errorf("MemTotal is %d", got)
		}
		cpuTimes(t, c, "cpu")
	}
}

// TestWorkerPrivileges makes sure that no thread of the worker has more capabilities than documented, or can get one, and
// that each has the filter of system calls.
func TestWorkerPrivileges(t *testing.T) {
	const documented = 1<<2 | 1<<19 | 1<<21 // CAP_DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(workerOf(t, shared.daemon)) + "/task/*/status")
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, status := range threads {
		seen := 0
		for line := range strings.Lines(hostFile(t, status)) {
			key, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			switch key {
			case "CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb":
				seen++
				if caps, err := strconv.ParseUint(value, 16, 64); err != nil || caps&^documented != 0 {
					t.Errorf("%s: %s is %s", status, key, value)
				}
			case "NoNewPrivs":
				seen++
				if value != "1" {
					t.Errorf("%s: new privileges are possible", status)
				}
			case "Seccomp":
				seen++
				if value != "2" {
					t.Errorf("%s: no filter of system calls", status)
				}
			}
		}
		if seen != 7 {
			t.Errorf("%s has %d of 7 lines", status, seen)
		}
	}
}
