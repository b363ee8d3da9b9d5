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
				if reads += n; ctr.IsClosed(stop) {
					t.Logf("container %d: %d reads", i, reads)
					return
				}
			}
		})
	}
	do()
	close(stop)
	if wg.Wait(); t.Failed() {
		log := d.Log()
		t.Logf("daemon's log: %s", log[max(0, len(log)-5000):])
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

// TestWorkerKilled kills the worker at random moments.
func TestWorkerKilled(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	underLoad(t, d, func() {
		for i := range ctr.Repeat(40, 200) {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			if i%8 == 0 { // lxcfs gives up when 16 in a row have not served
				hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
			}
			killWorker(t, d)
		}
	})
}

// TestWorkerHangs stops the worker: it is replaced, and no reader gets an error.
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

// TestUpgrade replaces the worker by one of the program on disk, again and again. A worker that does not start is given up.
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

// TestUpgradeOfStuckWorker has the worker replaced while it neither leaves nor dies, as one of which a thread is stuck in the kernel:
// the next one serves, and can be replaced itself.
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
			t.Errorf("MemTotal is %d", got)
		}
	}
	if log := d.Log(); strings.Count(log, "the next one takes over") != 1 {
		t.Errorf("the log: %s", log)
	}
}

// freeze stops a process so that it cannot even be killed, until the test's end.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if ctr.OnV2() {
		t.Skip("cgroup v2 lets frozen processes be killed; v1 does not")
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

// startKept starts a daemon whose files are kept until the test's end.
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

// waitForHeld waits until the daemon has stored the files that it holds open.
func waitForHeld(t *testing.T, k *ctr.Keeper) {
	t.Helper()
	waitFor(t, "the files that are held open", func() bool { return k.Has("held") })
}

// TestKeptMount kills and stops the supervisor, and so the worker with it, while a service manager keeps the files: who
// reads waits for the next one.
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
		t.Fatalf("%d files are kept", files)
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
	waitFor(t, "the files that are kept", func() bool { return k.Len() == files })
}

// TestKeptMountIsGone keeps the files of a mount that was unmounted or aborted: the next process mounts again,
// and only the files of the new mount are kept from then on.
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
		waitFor(t, "the files that are kept: "+name, func() bool { return k.Len() == files })
	}
}

// TestPanicIsNoMistake has the supervisor end as it does of a panic (SIGQUIT has Go do the same): by a signal, and not with the exit
// code of a mistake in the command line, after which it is not started again.
func TestPanicIsNoMistake(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_CORE, &limit) // as it was
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Unmount() // it is dead
	if err := d.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := d.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGABRT {
		t.Errorf("it ended with %v", err)
	}
}

// TestKeptReadsAtOnce has 200 files read byte by byte when the supervisor is restarted, and killed, while others are opened and
// read: each reader gets the rest of the text that it began with.
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
	waitFor(t, "the middle", func() bool { _, err := c.Exec(t.Context(), "test", "-e", "/tmp/halfway"); return err == nil })
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

// TestStateIsLost takes the runtime directory away under a daemon that is killed: counters start again, all else goes on.
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

// workerCapabilities are CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN.
const workerCapabilities = 1<<2 | 1<<19 | 1<<21

// TestWorkerPrivileges makes sure that no thread of the worker has more capabilities than documented, or can get one, and
// that each has the filter of system calls.
func TestWorkerPrivileges(t *testing.T) {
	checkPrivileges(t, workerOf(t, shared.daemon), workerCapabilities)
}

// checkPrivileges looks at all threads of a process.
func checkPrivileges(t *testing.T, pid int, documented uint64) {
	t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
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
