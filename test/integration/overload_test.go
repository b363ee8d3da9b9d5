//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// newNamespaces starts a program as the init of a new pid namespace in a new user namespace.
var newNamespaces = syscall.SysProcAttr{
	Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
}

// startLimited starts a daemon with a limit on open files.
func startLimited(t *testing.T, files int) *ctr.Daemon {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "lxcfs.sh")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", files, shared.lxcfs)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return ctr.NewDaemon(t, script, dir)
}

// TestManyNamespaces checks that readers from more pid namespaces than the daemon may have open
// files succeed: with a file that needs few descriptors, and all at once with one that needs many.
func TestManyNamespaces(t *testing.T) {
	for _, tt := range []struct{ files, namespaces int }{
		{256, 400}, {1000, ctr.Repeat(1300, 3000)},
	} {
		t.Run(fmt.Sprintf("%d files, %d namespaces", tt.files, tt.namespaces), func(t *testing.T) {
			d := startLimited(t, tt.files)
			gate := filepath.Join(t.TempDir(), "gate")
			if err := syscall.Mkfifo(gate, 0o666); err != nil {
				t.Fatal(err)
			}
			// The readers exit at the end of their standard input.
			stay, leave, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			output, input, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			const script = `say() { read -r x <"$0/$1" && echo "read $1" || echo "failed $1"; }
				say uptime; : <"$1"; say meminfo; read -r x`
			var all []*exec.Cmd
			defer func() {
				leave.Close()
				for _, cmd := range all {
					if t.Failed() {
						cmd.Process.Kill()
					}
					cmd.Wait() // their output is checked
				}
				stay.Close()
				output.Close()
			}()
			lines := bufio.NewScanner(output)
			expect := func(name string) {
				t.Helper()
				for i := range tt.namespaces {
					if !lines.Scan() || lines.Text() != "read "+name {
						t.Fatalf("namespace %d of %d: %q, %v", i, tt.namespaces, lines.Text(), lines.Err())
					}
				}
			}
			late := time.AfterFunc(time.Minute, func() { output.Close() }) // fails a late reader
			defer late.Stop()
			for range tt.namespaces {
				cmd := exec.Command("sh", "-c", script, filepath.Join(d.Mountpoint, "proc"), gate)
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
				cmd.Stdin, cmd.Stdout, cmd.Stderr = stay, input, input
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				all = append(all, cmd)
			}
			input.Close()
			expect("uptime")
			opened, err := os.OpenFile(gate, os.O_RDWR, 0) // starts all readers
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			expect("meminfo")
			if got := openFiles(t, workerOf(t, d)); got > tt.files {
				t.Errorf("got %d open files, want at most %d", got, tt.files)
			}
			if countErrors(d.Log()) > 0 || strings.Contains(d.Log(), "too many open files") {
				t.Errorf("the daemon's log: %s", d.Log())
			}
		})
	}
}

// TestNoisyNamespaces checks that an unprivileged user who reads from many pid namespaces, in a
// cgroup with thousands of threads, neither delays other readers nor makes the worker appear hung.
func TestNoisyNamespaces(t *testing.T) {
	const (
		threads, namespaces = 2000, 60
		// tolerated is the maximum median of another container's reads, on a machine that also runs
		// other tests.
		tolerated = 100 * time.Millisecond
	)
	d := newDaemon(t, t.TempDir())
	victim := start(t, ctr.Options{Memory: limit, Lxcfs: d.Mountpoint})
	worker := workerOf(t, d)
	load := filepath.Join(shared.rootfs, "bin/load")
	user := &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	run := func(attr *syscall.SysProcAttr, args ...string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(load, args...)
		cmd.SysProcAttr = attr
		cmd.Stderr = os.Stderr
		return cmd
	}
	sleepers := run(user, "sleepers", strconv.Itoa(threads))
	if line := ctr.StartReady(t, sleepers); line != "ready\n" {
		t.Fatalf("sleepers: %q", line)
	}
	var readers []*exec.Cmd
	for i := range namespaces {
		file := filepath.Join(d.Mountpoint, "proc", []string{"loadavg", "stat"}[i%2])
		cmd := run(&newNamespaces, "rate", "8", "1", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, cmd)
	}
	var median time.Duration
	for began := time.Now(); time.Since(began) < 7*time.Second; {
		fields := strings.Fields(inside(t, victim, "load", "time", "100", "/proc/loadavg"))
		median = max(median, time.Duration(number(t, fields[0])))
	}
	for _, cmd := range readers {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("maximum median of the victim: %v", median)
	if median > tolerated {
		t.Errorf("a read beside noisy namespaces takes %v, want at most %v", median, tolerated)
	}
	if got := workerOf(t, d); got != worker {
		t.Errorf("got worker %d, want %d: %s", got, worker, d.Log())
	}
	if log := d.Log(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the daemon's log: %s", log)
	}
}

// TestNoisyContainer checks that a container that reads with 1,000 threads neither breaks another
// container's reads nor makes the worker appear hung, and that no read is lost when the worker is
// killed meanwhile.
func TestNoisyContainer(t *testing.T) {
	d := newDaemon(t, t.TempDir())
	victim := start(t, ctr.Options{Memory: limit, Lxcfs: d.Mountpoint})
	noisy := start(t, ctr.Options{Memory: 2 * limit, Lxcfs: d.Mountpoint})
	worker := workerOf(t, d)
	noise := make(chan error, 1)
	go func() {
		_, err := noisy.Exec(t.Context(), "load", "rate", "8", "1000", "/proc/uptime")
		noise <- err
	}()
	check := append([]string{"load", "check", "3", "2"}, allFiles()...)
	if out := inside(t, victim, check...); !strings.HasSuffix(out, " wrong 0\n") {
		t.Errorf("beside the noise: %s", out)
	}
	if got := workerOf(t, d); got != worker {
		t.Errorf("got worker %d, want %d: %s", got, worker, d.Log())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if out, err := victim.Exec(t.Context(), check...); err != nil || !strings.HasSuffix(out, " wrong 0\n") {
			t.Errorf("while the worker is killed: %q, %v", out, err)
		}
	})
	for range 10 {
		time.Sleep(200 * time.Millisecond)
		hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
		killWorker(t, d)
	}
	wg.Wait()
	if err := <-noise; err != nil {
		t.Errorf("the noise: %v", err)
	}
}
