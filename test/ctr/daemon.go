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
)

// Daemon is a running lxcfs.
type Daemon struct {
	Mountpoint string
	cmd        *exec.Cmd
	done       chan error
	log        *LockedBuffer
}

// LockedBuffer is a buffer that one writes to while another reads it.
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

// StartDaemon starts the lxcfs at path with a mount point, pid file and runtime directory in dir, and waits until it serves.
func StartDaemon(ctx context.Context, path, dir string, flags ...string) (*Daemon, error) {
	d, args, err := newDaemon(dir, flags)
	if err != nil {
		return nil, err
	}
	d.cmd = exec.Command(path, args...)
	return d, d.start(ctx)
}

// newDaemon prepares what a daemon needs in dir, and its command line.
func newDaemon(dir string, flags []string) (*Daemon, []string, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "lxcfs"), done: make(chan error, 1), log: new(LockedBuffer)}
	// An earlier daemon may have left a mount that waits for a server: stat(2) would hang there.
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

func (d *Daemon) start(ctx context.Context) error {
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// The daemon ends with its test, whatever becomes of that: more exactly, with the thread that started it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.done <- d.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	served := filepath.Join(d.Mountpoint, "proc/uptime")
	for deadline := time.Now().Add(commandTime); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.ReadFile(served); err == nil { // a look alone would find what the kernel knows of a dead mount
			return nil
		}
		select {
		case err := <-d.done:
			return fmt.Errorf("lxcfs ended: %w: %s", err, d.log)
		default:
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("lxcfs does not serve %s: %s", served, d.log), d.Kill())
		}
	}
}

// PID is the daemon's process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// metricsProgram is what the process is called that tells the metrics.
const metricsProgram = "lxcfs-metrics"

// WorkerPID returns the pid of the current worker.
func (d *Daemon) WorkerPID() (int, error) {
	return d.child("a worker", func(command string) bool { return command == "lxcfs-worker" })
}

// MetricsPID is the process that tells the metrics.
func (d *Daemon) MetricsPID() (int, error) {
	return d.child("a "+metricsProgram, func(command string) bool { return command == metricsProgram })
}

// child is a process that the daemon has started, whose command is the one.
func (d *Daemon) child(what string, is func(command string) bool) (int, error) {
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
			if err != nil || !is(strings.TrimSpace(string(command))) {
				continue
			}
			return strconv.Atoi(pid)
		}
	}
	return 0, errors.New("lxcfs has not " + what)
}

// Freeze stops the daemon and its worker, until Thaw.
func (d *Daemon) Freeze() error { return d.signalBoth(syscall.SIGSTOP) }

// Thaw lets them go on.
func (d *Daemon) Thaw() error { return d.signalBoth(syscall.SIGCONT) }

func (d *Daemon) signalBoth(s syscall.Signal) error {
	worker, err := d.WorkerPID()
	if err != nil {
		return err
	}
	return errors.Join(syscall.Kill(d.PID(), s), syscall.Kill(worker, s))
}

// Log is what the daemon has printed.
func (d *Daemon) Log() string { return d.log.String() }

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(s os.Signal) error { return d.cmd.Process.Signal(s) }

// Stop ends the daemon by SIGTERM and returns its error, if it does not exit with 0 in time.
func (d *Daemon) Stop() error {
	if err := d.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	return d.Wait()
}

// Wait returns how the daemon has ended, and kills it if it does not in time.
func (d *Daemon) Wait() error {
	select {
	case err := <-d.done:
		return err
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("lxcfs did not end: %s", d.log), d.Kill())
	}
}

// Kill kills the daemon and takes its dead mount away.
func (d *Daemon) Kill() error { return errors.Join(d.Crash(), d.Unmount()) }

// Crash kills the daemon, whose dead mount stays.
func (d *Daemon) Crash() error {
	worker, _ := d.WorkerPID() // there may be none
	err := d.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-d.done
	// The worker is killed by the kernel. As long as one thread of it is there the mount is not dead.
	for deadline := time.Now().Add(commandTime); worker != 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if hasEnded(worker) {
			break
		}
	}
	return err
}

// hasEnded reports whether all threads of a process have ended, although its parent may not have reaped it yet.
func hasEnded(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return true
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	return err != nil || len(threads) <= 1 && bytes.Contains(stat, []byte(") Z "))
}

// Unmount takes what is mounted on the mount point away.
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
