//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// newDaemon starts a daemon that is stopped after the test.
func newDaemon(t *testing.T, dir string, flags ...string) *ctr.Daemon {
	t.Helper()
	return ctr.NewDaemon(t, shared.lxcfs, dir, flags...)
}

// runDaemon runs lxcfs until it exits, and returns its exit code and stderr.
func runDaemon(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.lxcfs, args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("lxcfs %v: %v: %s", args, err, &out)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func TestBadCommandLines(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	private := []string{"--pidfile", filepath.Join(dir, "pid"), "--runtime-dir", filepath.Join(dir, "run")}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no mount point", nil, 2, "MOUNTPOINT"},
		{"unknown option", []string{"--frobnicate", dir}, 2, "frobnicate"},
		{"unknown short option", []string{"-Z", dir}, 2, "Z"},
		{"two mount points", []string{dir, "/second"}, 2, `"/second"`},
		{"option without value", []string{"--pidfile"}, 2, "pidfile"},
		{"unknown log level", []string{"--log-level", "loud", dir}, 2, `"loud"`},
		{"unknown log format", []string{"--log-format", "xml", dir}, 2, `"xml"`},
		{"unknown mount option", []string{"-o", "allow_other,exec", dir}, 2, `"exec"`},
		{"max_read not a number", []string{"-o", "max_read=many", dir}, 2, `"max_read=many"`},
		{"metrics without address", []string{"--metrics", ":9436", dir}, 2, `--metrics ":9436" is not an IP address and port, such as 127.0.0.1:9436`},
		{"metrics at a host name", []string{"--metrics", "localhost:9436", dir}, 2, `"localhost:9436"`},
		{"metrics at a relative socket", []string{"--metrics-socket", "m.sock", dir}, 2, `--metrics-socket "m.sock" is not an absolute path`},
		{"missing mount point", append(private, filepath.Join(dir, "absent")), 1, "absent"},
		{"missing parent of the mount point", append(private, filepath.Join(dir, "absent/deeper")), 2, "absent"},
		{"file as mount point", append(private, file), 1, "not a directory"},
		{"impossible pid file", []string{"--pidfile", "/absent/pid", "--runtime-dir", filepath.Join(dir, "run"), dir}, 1, "/absent/pid"},
		{"file as runtime directory", []string{"--pidfile", filepath.Join(dir, "pid"), "--runtime-dir", file, dir}, 1, file},
		{"runtime directory in the mount point", []string{"--pidfile", filepath.Join(dir, "pid"), "--runtime-dir", filepath.Join(dir, "run"), dir}, 1,
			filepath.Join(dir, "run")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stderr := runDaemon(t, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q; want %d and one line with %q", code, stderr, tt.code, tt.want)
			}
		})
	}
}

func TestNotRoot(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), shared.lxcfs, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "root") {
		t.Errorf("%v: %q, want exit code 1 and a message with root", err, out)
	}
}

// TestMachineWithout checks the error of the daemon where FUSE, cgroups or sysfs is missing.
func TestMachineWithout(t *testing.T) {
	dir, point := t.TempDir(), t.TempDir()
	tests := []struct{ name, hide, want string }{
		{"FUSE", "mount -t tmpfs tmpfs /dev", "/dev/fuse"},
		{"cgroups", "umount -l /sys/fs/cgroup", "cgroup"},
		{"sysfs", "mount -t tmpfs tmpfs /sys && mkdir -p /sys/fs/cgroup/v2 && mount -t cgroup2 none /sys/fs/cgroup/v2", "/sys"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := tt.hide + ` && exec "$0" --pidfile "$1/pid" --runtime-dir "$1/run" "$2"`
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", script, shared.lxcfs, dir, point)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), tt.want) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%v: %q, want exit code 1 and one line with %q", err, out, tt.want)
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, flag := range []string{"--version", "-v", "--help"} {
		if out, err := exec.CommandContext(t.Context(), shared.lxcfs, flag).Output(); err != nil || !strings.Contains(string(out), "lxcfs") {
			t.Errorf("%s: %v: %q", flag, err, out)
		}
	}
}

// TestOldCommandLines checks that the daemon accepts command lines for the C version, which parses
// them with getopt_long(3). MNT is the mount point, DIR holds the pid file and the runtime
// directory.
func TestOldCommandLines(t *testing.T) {
	for _, tt := range []struct{ name, args string }{
		{"Debian's unit", "-p DIR/pid --runtime-dir DIR/run MNT"},
		{"2.0", "-s -f -o allow_other -p DIR/pid --runtime-dir DIR/run MNT"},
		{"options last", "MNT -l -p DIR/pid --runtime-dir DIR/run"},
		{"options last, as in images for Kubernetes",
			"MNT/ -u -l --enable-cfs --enable-pidfd --enable-cgroup -p DIR/pid --runtime-dir DIR/run"},
		{"options on both sides", "-l -p DIR/pid MNT -u --runtime-dir=DIR/run --enable-cfs"},
		{"joined values", "-pDIR/pid MNT -ononempty,direct_io,entry_timeout=0.5 --runtime-dir DIR/run"},
		{"joined letters", "-ulfspDIR/pid MNT --runtime-dir DIR/run"},
		{"abbreviations",
			"--pid DIR/pid --runt=DIR/run --disable-s --disable-z --enable-c --enable-p --for MNT"},
		{"end of options", "-l -p DIR/pid --runtime-dir DIR/run -- MNT"},
		{"7.0", "MNT -z -u --enable-psi-poll -d -p DIR/pid --runtime-dir DIR/run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, mnt := t.TempDir(), t.TempDir()
			args := strings.NewReplacer("DIR", dir, "MNT", mnt).Replace(tt.args)
			cmd := exec.CommandContext(t.Context(), shared.lxcfs, strings.Fields(args)...)
			var log ctr.LockedBuffer
			cmd.Stderr = &log
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			waitFor(t, "the files", func() bool {
				_, err := os.Stat(filepath.Join(mnt, "proc/uptime"))
				return err == nil || len(ended) > 0
			})
			pid := hostFile(t, filepath.Join(dir, "pid"))
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil || strings.TrimSpace(pid) != fmt.Sprint(cmd.Process.Pid) {
				t.Errorf("%v, pid file %q: %s", err, pid, log.String())
			}
		})
	}
}

// TestNoEffect checks that options without effect are logged at debug level, once each.
func TestNoEffect(t *testing.T) {
	d := newDaemon(t, t.TempDir(), "-f", "-l", "-s", "--enable-cfs", "--enable-pidfd", "--debug")
	for _, option := range []string{
		"--foreground", "--single-threaded", "--enable-loadavg", "--enable-cfs", "--enable-pidfd",
	} {
		if n := strings.Count(d.Log(), "option="+option+" "); n != 1 {
			t.Errorf("%s is logged %d times, want once: %s", option, n, d.Log())
		}
	}
	if strings.Contains(d.Log(), "option=--enable-cgroup") {
		t.Errorf("--enable-cgroup, which was not given, is logged: %s", d.Log())
	}
}

func TestSecondInstance(t *testing.T) {
	dir := t.TempDir()
	d := newDaemon(t, dir)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"the same mount point", []string{"--pidfile", filepath.Join(dir, "other.pid"), "--runtime-dir", filepath.Join(dir, "run"), d.Mountpoint},
			fmt.Sprintf("process %d", d.PID())},
		{"the same pid file", []string{"--pidfile", filepath.Join(dir, "lxcfs.pid"), "--runtime-dir", filepath.Join(dir, "run2"), t.TempDir()},
			fmt.Sprintf("process %d", d.PID())},
		{"the same mount point with another lock", []string{"--pidfile", filepath.Join(dir, "other.pid"), "--runtime-dir", filepath.Join(dir, "run2"), d.Mountpoint},
			"another lxcfs serves"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stderr := runDaemon(t, tt.args...)
			if code != 1 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q; want 1 and one line with %q", code, stderr, tt.want)
			}
			if got := hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime")); got == "" {
				t.Error("the first instance no longer serves")
			}
		})
	}
	if got := strings.TrimSpace(hostFile(t, filepath.Join(dir, "lxcfs.pid"))); got != fmt.Sprint(d.PID()) {
		t.Errorf("got pid file %q, want %d", got, d.PID())
	}
}

// TestSecondInstanceOfDebian checks, in both orders, that of Debian's lxcfs and ours with the same
// pid file the second exits and changes nothing.
func TestSecondInstanceOfDebian(t *testing.T) {
	const debian = "/usr/bin/lxcfs"
	dir := t.TempDir()
	rival, err := ctr.StartRival(t.Context(), debian, dir)
	if err != nil {
		t.Fatalf("%v (make deps installs Debian's lxcfs)", err)
	}
	defer rival.Stop()
	pidFile := filepath.Join(dir, "rival.pid")
	code, stderr := runDaemon(t, "--pidfile", pidFile, "--runtime-dir", filepath.Join(dir, "run"), t.TempDir())
	want := fmt.Sprintf("process %d holds %s already", rival.PID(), pidFile)
	if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q; want 1 and one line with %q", code, stderr, want)
	}
	if got := strings.TrimSpace(hostFile(t, pidFile)); got != fmt.Sprint(rival.PID()) {
		t.Errorf("got pid file %q, want %d", got, rival.PID())
	}

	d := newDaemon(t, filepath.Join(dir, "ours"))
	pidFile = filepath.Join(dir, "ours/lxcfs.pid")
	for range 3 { // each removes the pid file
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := exec.CommandContext(ctx, debian, "-f", "-p", pidFile, t.TempDir()).CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(out), "already locked") {
			t.Fatalf("Debian's lxcfs beside ours: %v, %s", err, out)
		}
		waitFor(t, "the pid file", func() bool {
			text, err := os.ReadFile(pidFile)
			return err == nil && string(text) == fmt.Sprintln(d.PID())
		})
	}
}

// TestStaleMount checks that a daemon replaces the dead mounts of killed daemons, and does not
// start beside one that hangs.
func TestStaleMount(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "a dead mount", func() bool {
			_, err := os.ReadFile(filepath.Join(d.Mountpoint, "proc/uptime"))
			return errors.Is(err, syscall.ENOTCONN)
		})
	}
	d := newDaemon(t, dir)
	if got := mountsOn(t, d.Mountpoint); got != 1 {
		t.Errorf("%d mounts on the mount point, want 1", got)
	}
	if err := d.Freeze(); err != nil {
		t.Fatal(err)
	}
	code, stderr := runDaemon(t, "--pidfile", filepath.Join(dir, "other"), "--runtime-dir", filepath.Join(dir, "run2"), d.Mountpoint)
	if err := d.Thaw(); err != nil {
		t.Fatal(err)
	}
	if code != 1 || !strings.Contains(stderr, "does not answer") {
		t.Errorf("beside a hanging daemon: exit code %d, %q", code, stderr)
	}
}

func mountsOn(t *testing.T, path string) int {
	t.Helper()
	return strings.Count(hostFile(t, "/proc/self/mountinfo"), " "+path+" ")
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func TestSignals(t *testing.T) {
	dir := t.TempDir()
	d := newDaemon(t, dir)
	c := start(t, ctr.Options{Memory: limit, CPUs: "0", Lxcfs: d.Mountpoint})
	host := field(t, hostFile(t, "/proc/meminfo"), "MemTotal")
	for range 3 {
		for _, want := range []struct {
			memory uint64
			cpus   string
		}{{host, hostFile(t, "/sys/devices/system/cpu/online")}, {limit, "0\n"}} {
			if err := d.Signal(syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the switch", func() bool { return memory(t, c, "MemTotal") == want.memory })
			if got := inside(t, c, "cat", "/sys/devices/system/cpu/online"); got != want.cpus {
				t.Errorf("%q is online, want %q", got, want.cpus)
			}
		}
	}
	t.Run("off in the next worker", func(t *testing.T) { checkStaysOff(t, d, c, host) })
	if err := d.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := memory(t, c, "MemTotal"); got != limit {
		t.Errorf("MemTotal %d after SIGHUP, which is ignored, want %d", got, limit)
	}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := t.TempDir()
		ending, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := ending.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := ending.Stop(); err != nil {
			t.Errorf("%v: %v", s, err)
		}
		if got := mountsOn(t, ending.Mountpoint); got != 0 {
			t.Errorf("%v: %d mounts remain", s, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "lxcfs.pid")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the pid file remains: %v", s, err)
		}
	}
}

// checkStaysOff checks that after SIGUSR2 has switched the container's view off, it stays off
// across an upgrade and a crash of the worker.
func checkStaysOff(t *testing.T, d *ctr.Daemon, c *ctr.Container, host uint64) {
	pidFile := filepath.Join(filepath.Dir(d.Mountpoint), "lxcfs.pid")
	script := func(signal string) { // as in scripts for the C version
		t.Helper()
		if out, err := exec.Command("sh", "-c", "kill -"+signal+" $(cat "+pidFile+")").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	isOff := func() bool {
		return strings.Contains(hostFile(t, filepath.Join(d.Mountpoint, "status")), `"off":true`)
	}
	if isOff() {
		t.Error("status: got off, want on")
	}
	worker, err := d.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} { // kill -USR2 $(pidof lxcfs) reaches both
		if err := syscall.Kill(worker, s); err != nil {
			t.Fatal(err)
		}
	}
	script("USR2")
	waitFor(t, "the switch", isOff)
	for _, replace := range []func(){
		func() { script("USR1") },
		func() {
			worker, err := d.WorkerPID()
			if err == nil {
				err = syscall.Kill(worker, syscall.SIGKILL)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		old, err := d.WorkerPID()
		if err != nil {
			t.Fatal(err)
		}
		replace()
		for replaced := false; !replaced; {
			// Every read meanwhile, also the first of the next worker, gets the host's text.
			if got := memory(t, c, "MemTotal"); got != host {
				t.Fatalf("MemTotal %d, want the host's %d", got, host)
			}
			worker, err := d.WorkerPID()
			replaced = err == nil && worker != old
		}
		if got := memory(t, c, "MemTotal"); got != host || !isOff() {
			t.Fatalf("MemTotal %d after the worker was replaced, want the host's %d", got, host)
		}
	}
	script("USR2")
	waitFor(t, "the switch", func() bool { return memory(t, c, "MemTotal") == limit && !isOff() })
}

// TestUnmountedByHand checks that the daemon exits with 0 when it is unmounted.
func TestUnmountedByHand(t *testing.T) {
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Unmount(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a log line", func() bool { return strings.Contains(d.Log(), "unmounted by another process") })
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

// TestRestartKeepsCounters checks that the counters of stat neither fall nor jump when the daemon
// is restarted or killed.
func TestRestartKeepsCounters(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %v", kill), func(t *testing.T) {
			dir := t.TempDir()
			first, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
			if err != nil {
				t.Fatal(err)
			}
			c := start(t, ctr.Options{CPUs: "0", Lxcfs: first.Mountpoint})
			// Without its history the container would have another idle time.
			time.Sleep(2 * time.Second)
			_, idle := cpuTimes(t, c, "cpu")
			time.Sleep(1500 * time.Millisecond)
			if kill {
				err = first.Kill()
			} else {
				err = first.Stop()
			}
			if err != nil {
				t.Fatal(err)
			}
			second := newDaemon(t, dir, "--debug")
			_, now := cpuTimes(t, c, "cpu")
			if now < idle+100 || now > idle+2000 {
				t.Errorf("got idle time %d, want %d to %d ticks; log: %s", now, idle+100, idle+2000, second.Log())
			}
		})
	}
}

// TestInvalidStateFile checks that the daemon starts with an invalid state file.
func TestInvalidStateFile(t *testing.T) {
	dir := t.TempDir()
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	states, err := filepath.Glob(filepath.Join(dir, "run/*"))
	if err != nil || len(states) != 1 {
		t.Fatalf("%v, %v", states, err)
	}
	for _, text := range []string{"{", `[{"PID":"x"}]`, `[{"PID":-1,"Clock":{"CPUs":null,"Debt":-9223372036854775808}}]`} {
		write(t, filepath.Join(states[0], "guests"), text)
		again, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := again.Stop(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
