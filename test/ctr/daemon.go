package ctr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"palisade/internal/inject/probe"
)

// Daemon is a running lxcfs.
type Daemon struct {
	Mountpoint string
	cmd        *exec.Cmd
	done       chan error
	log        *LockedBuffer
}

// LockedBuffer is a buffer for concurrent use.
type LockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// StartDaemon starts the lxcfs at path with its mount point, pid file and runtime directory in dir,
// and waits until it serves.
func StartDaemon(ctx context.Context, path, dir string, flags ...string) (*Daemon, error) {
	d, args, err := newDaemon(dir, flags)
	if err != nil {
		return nil, err
	}
	d.cmd = exec.Command(path, args...)
	return d, d.start(ctx)
}

// newDaemon creates a daemon's mount point in dir, and returns the daemon with its arguments.
func newDaemon(dir string, flags []string) (*Daemon, []string, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "lxcfs"), done: make(chan error, 1), log: new(LockedBuffer)}
	// An earlier daemon may have left a mount without a server, on which stat(2) would hang.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(d.Mountpoint, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, nil, err
	}
	args := []string{"--pidfile", filepath.Join(dir, "lxcfs.pid"), "--runtime-dir", filepath.Join(dir, "run")}
	return d, append(append(args, flags...), d.Mountpoint), nil
}

// StartRival starts Debian's lxcfs at path in the same way.
func StartRival(ctx context.Context, path, dir string) (*Daemon, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "rival"), done: make(chan error, 1), log: new(LockedBuffer)}
	if err := os.MkdirAll(d.Mountpoint, 0o755); err != nil {
		return nil, err
	}
	d.cmd = exec.Command(path, "-f", "-l", "--enable-cfs", "-p", filepath.Join(dir, "rival.pid"), d.Mountpoint)
	return d, d.start(ctx)
}

// CallsSocket returns the socket to which runtimes send the descriptors of seccomp filters.
func (d *Daemon) CallsSocket() string {
	dir := filepath.Join(filepath.Dir(d.Mountpoint), "run")
	return filepath.Join(probe.RuntimeDir(dir, d.Mountpoint), probe.CallsSocket)
}

// StartTied starts a command, which gets the signal at the latest when this process ends, and sends
// the result of its Wait to done.
func StartTied(cmd *exec.Cmd, signal syscall.Signal, done chan<- error) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: signal}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal is sent when the thread that started it ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return <-started
}

func (d *Daemon) start(ctx context.Context) error {
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := StartTied(d.cmd, syscall.SIGTERM, d.done); err != nil {
		return err
	}
	served := filepath.Join(d.Mountpoint, "proc/uptime")
	for deadline := time.Now().Add(commandTime); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.ReadFile(served); err == nil { // stat would succeed from the cache of a dead mount
			return nil
		}
		select {
		case err := <-d.done:
			return fmt.Errorf("lxcfs exited: %w: %s", err, d.log)
		default:
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("lxcfs does not serve %s: %s", served, d.log), d.Kill())
		}
	}
}

// PID returns the pid of the daemon.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// metricsProgram is the name of the process that serves the metrics.
const metricsProgram = "lxcfs-metrics"

// WorkerPID returns the pid of the current worker.
func (d *Daemon) WorkerPID() (int, error) {
	return d.child("lxcfs-worker")
}

// WorkerCPUTime returns the CPU time that the current worker has used.
func (d *Daemon) WorkerCPUTime() (time.Duration, error) {
	pid, err := d.WorkerPID()
	if err != nil {
		return 0, err
	}
	const schedClock = 2 // CPUCLOCK_SCHED in include/linux/posix-timers_types.h
	clock := ^pid<<3 | schedClock
	var used syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&used)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("clock_gettime of the CPU time of process %d: %w", pid, errno)
	}
	return time.Duration(used.Nano()), nil
}

// MetricsPID returns the pid of the process that serves the metrics.
func (d *Daemon) MetricsPID() (int, error) {
	return d.child(metricsProgram)
}

// WriterPID returns the pid of the process that writes the answers to system calls.
func (d *Daemon) WriterPID() (int, error) {
	return d.child("lxcfs-writer")
}

// child returns the pid of the daemon's child process with the given name.
func (d *Daemon) child(name string) (int, error) {
	// Each thread has its own children.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.PID()))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for pid := range strings.FieldsSeq(string(text)) {
			command, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
			if err != nil || strings.TrimSpace(string(command)) != name {
				continue
			}
			return strconv.Atoi(pid)
		}
	}
	return 0, errors.New("lxcfs has no process " + name)
}

// Freeze stops the daemon and its worker, until Thaw.
func (d *Daemon) Freeze() error { return d.signalBoth(syscall.SIGSTOP) }

// Thaw resumes the daemon and its worker.
func (d *Daemon) Thaw() error { return d.signalBoth(syscall.SIGCONT) }

func (d *Daemon) signalBoth(s syscall.Signal) error {
	worker, err := d.WorkerPID()
	if err != nil {
		return err
	}
	return errors.Join(syscall.Kill(d.PID(), s), syscall.Kill(worker, s))
}

// Log returns the daemon's output.
func (d *Daemon) Log() string { return d.log.String() }

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(s os.Signal) error { return d.cmd.Process.Signal(s) }

// Stop terminates the daemon, and returns an error unless it exits with 0 in time.
func (d *Daemon) Stop() error {
	if err := d.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	return d.Wait()
}

// Wait waits until the daemon exits, and kills it after 10 seconds.
func (d *Daemon) Wait() error {
	select {
	case err := <-d.done:
		return err
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("lxcfs does not exit: %s", d.log), d.Kill())
	}
}

// Kill kills the daemon and removes its dead mount.
func (d *Daemon) Kill() error { return errors.Join(d.Crash(), d.Unmount()) }

// Crash kills the daemon, and leaves its dead mount.
func (d *Daemon) Crash() error {
	worker, _ := d.WorkerPID() // there may be none
	err := d.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-d.done
	// The kernel kills the worker. The mount is not dead before all of its threads have ended.
	for deadline := time.Now().Add(commandTime); worker != 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if hasEnded(worker) {
			break
		}
	}
	return err
}

// hasEnded reports whether all threads of a process have ended, including of a zombie.
func hasEnded(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return true
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	return err != nil || len(threads) <= 1 && bytes.Contains(stat, []byte(") Z "))
}

// Unmount removes the mount on the mount point, if there is one.
func (d *Daemon) Unmount() error {
	err := syscall.Unmount(d.Mountpoint, syscall.MNT_DETACH)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// IsClosed reports whether a channel without senders is closed.
func IsClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
