//go:build integration

package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
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

// underLoad calls do while threads read all files in several containers, and checks that no read
// fails, no text is wrong and no counter decreases.
func underLoad(t *testing.T, d *ctr.Daemon, do func()) {
	t.Helper()
	const containers, threads = 3, 3
	var all []*ctr.Container
	for i := range containers {
		all = append(all, start(t, ctr.Options{
			Memory: int64(64+i) * mib, Lxcfs: d.Mountpoint, CgroupNamespace: i == 0, Quota: int64(50000 * i),
		}))
	}
	checkWhile(t, all, `^reads (\d+) wrong 0\n$`, do, func(int) []string {
		return append([]string{"load", "check", "1", strconv.Itoa(threads)}, allFiles()...)
	})
}

// checkWhile calls do while the containers execute commands, again and again, and checks that their
// outputs match the pattern, whose group is a number of reads or calls.
func checkWhile(
	t *testing.T, all []*ctr.Container, pattern string, do func(), command func(container int) []string,
) {
	t.Helper()
	right := regexp.MustCompile(pattern)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() {
			for total := 0; ; {
				out, err := c.Exec(t.Context(), command(i)...)
				found := right.FindStringSubmatch(out)
				if err != nil || found == nil {
					t.Errorf("container %d: %q: %v", i, out, err)
					return
				}
				n, _ := strconv.Atoi(found[1])
				if total += n; ctr.IsClosed(stop) {
					t.Logf("container %d: %d", i, total)
					return
				}
			}
		})
	}
	do()
	close(stop)
	wg.Wait()
}

// killWorker kills the worker, and waits for another one.
func killWorker(t *testing.T, d *ctr.Daemon) {
	t.Helper()
	pid := workerOf(t, d)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	waitForWorker(t, d, pid)
}

// waitForWorker waits for a worker other than the process old.
func waitForWorker(t *testing.T, d *ctr.Daemon, old int) {
	t.Helper()
	waitFor(t, "another worker", func() bool {
		pid, err := d.WorkerPID()
		return err == nil && pid != old
	})
}

// TestWorkerKilled checks that readers do not notice when the worker is killed at random moments,
// while a container reads with 64 threads.
func TestWorkerKilled(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	noisy := start(t, ctr.Options{Lxcfs: d.Mountpoint})
	if err := noisy.ExecStart(t.Context(), "load", "rate", "3600", "64", "/proc/meminfo"); err != nil {
		t.Fatal(err)
	}
	underLoad(t, d, func() {
		for i := range ctr.Repeat(40, 200) {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			if i%8 == 0 { // lxcfs gives up after 16 workers in a row that have not served
				hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
			}
			killWorker(t, d)
		}
	})
}

// TestWorkerHangs checks that a stopped worker is replaced without errors for readers.
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
		t.Errorf("the hung worker is not logged: %s", d.Log())
	}
}

// TestUpgrade checks that SIGUSR1 replaces the worker by the program on disk, and that a program
// that does not start is given up.
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
	d := ctr.NewDaemon(t, program, dir)
	underLoad(t, d, func() {
		for i := range ctr.Repeat(12, 50) {
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
			logged := len(d.Log())
			if err := d.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the end of the upgrade", func() bool { return strings.Contains(d.Log()[logged:], "given up") })
			if pid := workerOf(t, d); pid != old {
				t.Errorf("got worker %d, want %d", pid, old)
			}
		}
		killWorker(t, d) // is replaced by the program that served
	})
}

// TestUpgradeOfStuckWorker checks that a worker that can neither exit nor be killed, like one with
// a thread stuck in the kernel, is replaced by one that can be replaced itself.
func TestUpgradeOfStuckWorker(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	c := start(t, ctr.Options{Memory: limit, Lxcfs: d.Mountpoint})
	freeze(t, workerOf(t, d))
	for serving := 2; serving <= 3; serving++ {
		if err := d.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the next worker", func() bool { return strings.Count(d.Log(), "the worker serves") == serving })
		if got := memory(t, c, "MemTotal"); got != limit {
			t.Errorf("MemTotal %d, want %d", got, limit)
		}
	}
	if log := d.Log(); strings.Count(log, "the next one takes over") != 1 {
		t.Errorf("unexpected log: %s", log)
	}
}

// freeze freezes a process, so that it cannot even be killed, until the test ends.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if ctr.OnV2() {
		t.Skip("frozen processes can be killed on cgroup v2")
	}
	dir := filepath.Join("/sys/fs/cgroup/freezer", "palisade-frozen-"+strconv.Itoa(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "freezer.state")
	t.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		write(t, state, "THAWED")
		waitFor(t, "the end of the frozen process", func() bool { return os.Remove(dir) == nil })
	})
	write(t, filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
	write(t, state, "FROZEN")
	waitFor(t, "the frozen process", func() bool { return hostFile(t, state) == "FROZEN\n" })
}

// startKept starts a daemon whose files a Keeper stores until the test ends.
func startKept(t *testing.T, dir string) (*ctr.Keeper, *ctr.Daemon) {
	t.Helper()
	k, err := ctr.NewKeeper(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	d, err := k.Start(t.Context(), shared.lxcfs, dir)
	if err != nil {
		t.Fatal(err)
	}
	waitForHeld(t, k)
	return k, d
}

// waitForHeld waits until the daemon has stored its open files.
func waitForHeld(t *testing.T, k *ctr.Keeper) {
	t.Helper()
	waitFor(t, "the open files to be stored", func() bool { return k.Has("held") })
}

// TestKeptMount checks that readers wait for the next daemon when supervisor and worker are killed
// and stopped while a service manager stores the files.
func TestKeptMount(t *testing.T) {
	dir := t.TempDir()
	k, d := startKept(t, dir)
	t.Cleanup(func() {
		if err := errors.Join(d.Stop(), d.Unmount()); err != nil {
			t.Error(err)
		}
	})
	files := k.Len()
	if files < 6 {
		t.Fatalf("got %d stored files, want at least 6", files)
	}
	underLoad(t, d, func() {
		var err error
		for i := range ctr.Repeat(8, 20) {
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
	if got := mountsOn(t, d.Mountpoint); got != 1 {
		t.Errorf("%d mounts, want 1", got)
	}
	waitFor(t, "the files to be stored", func() bool { return k.Len() == files })
}

// TestKeptMountIsGone checks that after its mount was unmounted or aborted the next daemon mounts
// again, and only the files of the new mount are stored.
func TestKeptMountIsGone(t *testing.T) {
	dir := t.TempDir()
	k, d := startKept(t, dir)
	defer func() {
		if err := errors.Join(d.Stop(), d.Unmount()); err != nil {
			t.Error(err)
		}
	}()
	var err error
	files := k.Len()
	abort := func() error {
		var info syscall.Stat_t
		if err := syscall.Stat(d.Mountpoint, &info); err != nil {
			return err
		}
		control := t.TempDir()
		if err := syscall.Mount("fusectl", control, "fusectl", 0, ""); err != nil {
			return err
		}
		defer syscall.Unmount(control, 0)
		return os.WriteFile(filepath.Join(control, strconv.FormatUint(info.Dev&0xff|info.Dev>>12&^0xff, 10), "abort"), []byte("1"), 0o200)
	}
	for name, end := range map[string]func() error{
		"unmounted while no process serves": func() error { return errors.Join(d.Crash(), d.Unmount()) },
		"unmounted":                         func() error { return errors.Join(d.Unmount(), d.Stop()) },
		"aborted":                           func() error { return errors.Join(abort(), d.Stop()) },
	} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, err = k.Start(t.Context(), shared.lxcfs, dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := mountsOn(t, d.Mountpoint); got != 1 {
			t.Errorf("%s: %d mounts, want 1", name, got)
		}
		waitFor(t, "the files to be stored: "+name, func() bool { return k.Len() == files })
	}
}

// TestPanicExitStatus checks that a panic of the supervisor (SIGQUIT has the same effect) ends it
// by a signal, not with the exit code of usage errors, after which systemd does not restart it.
func TestPanicExitStatus(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Unmount()
	if err := d.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := d.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGABRT {
		t.Errorf("lxcfs exited with %v, want SIGABRT", err)
	}
}

// TestKeptReadsAtOnce checks that readers of 200 files get the rest of their text after the
// supervisor was restarted and killed, while others open and read files.
func TestKeptReadsAtOnce(t *testing.T) {
	dir := t.TempDir()
	k, d := startKept(t, dir)
	defer func() {
		if err := errors.Join(d.Stop(), d.Unmount()); err != nil {
			t.Error(err)
		}
	}()
	c := start(t, ctr.Options{Memory: 64 * mib, Lxcfs: d.Mountpoint, CgroupNamespace: true})
	ended := make(chan error, 1)
	go func() {
		out, err := c.Exec(t.Context(), append([]string{"load", "halves", "200"}, allFiles()...)...)
		if err == nil && out != "halves 200\n" {
			err = errors.New(out)
		}
		ended <- err
	}()
	waitFor(t, "the first halves", func() bool { _, err := c.Exec(t.Context(), "test", "-e", "/tmp/halfway"); return err == nil })
	var err error
	for _, end := range []func() error{func() error { return d.Stop() }, func() error { return d.Crash() }, func() error { return d.Stop() }} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if d, err = k.Start(t.Context(), shared.lxcfs, dir); err != nil {
			t.Fatal(err)
		}
		for _, file := range allFiles() {
			inside(t, c, "dd", "bs=1", "if="+file, "of=/dev/null")
		}
	}
	inside(t, c, "touch", "/tmp/go")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStateIsLost checks that without its state file a new worker serves, and only counters start
// again.
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
			t.Errorf("MemTotal %d, want %d", got, limit)
		}
		cpuTimes(t, c, "cpu")
	}
}

// workerCapabilities is the set of CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN.
const workerCapabilities = 1<<2 | 1<<19 | 1<<21

// TestWorkerPrivileges checks that each thread of the worker has the seccomp filter and no more
// capabilities than documented, and can get none.
func TestWorkerPrivileges(t *testing.T) {
	checkPrivileges(t, workerOf(t, shared.daemon), workerCapabilities)
}

// checkPrivileges checks all threads of a process.
func checkPrivileges(t *testing.T, pid int, documented uint64) {
	t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil || len(threads) < 2 {
		t.Fatalf("got %d threads, %v, want at least 2", len(threads), err)
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
					t.Errorf("%s: got %s %s, want at most %x", status, key, value, documented)
				}
			case "NoNewPrivs":
				seen++
				if value != "1" {
					t.Errorf("%s: no_new_privs is not set", status)
				}
			case "Seccomp":
				seen++
				if value != "2" {
					t.Errorf("%s: no seccomp filter", status)
				}
			}
		}
		if seen != 7 {
			t.Errorf("%s: got %d of 7 lines", status, seen)
		}
	}
}

// TestWorkerTimerSlack checks all threads, among them the one of Go's runtime that sleeps most.
func TestWorkerTimerSlack(t *testing.T) {
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(workerOf(t, shared.daemon)) + "/task/*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("got %d threads, %v, want at least 2", len(threads), err)
	}
	for _, thread := range threads {
		tid := filepath.Base(thread)
		if got := hostFile(t, filepath.Join("/proc", tid, "timerslack_ns")); got != "1000000\n" {
			t.Errorf("thread %s has a timer slack of %q ns, want 1 ms", tid, got)
		}
	}
}
