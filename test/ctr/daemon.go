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
	"sync"
	"syscall"
	"time"
)

// Daemon is a running lxcfs.
type Daemon struct {
	Mountpoint string
	cmd        *exec.Cmd
	done       chan error
	log        *lockedBuffer
}

// lockedBuffer is a buffer that one writes to while another reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// StartDaemon starts the lxcfs at path with a mount point, pid file and runtime folder in dir, and waits until it serves.
func StartDaemon(ctx context.Context, path, dir string, flags ...string) (*Daemon, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "lxcfs"), done: make(chan error, 1), log: new(lockedBuffer)}
	if err := os.MkdirAll(d.Mountpoint, 0o755); err != nil {
		return nil, err
	}
	args := []string{"--pidfile", filepath.Join(dir, "lxcfs.pid"), "--runtime-dir", filepath.Join(dir, "run")}
	return d, d.start(ctx, path, append(append(args, flags...), d.Mountpoint)...)
}

// StartRival starts Debian's lxcfs at path in the same way.
func StartRival(ctx context.Context, path, dir string) (*Daemon, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "rival"), done: make(chan error, 1), log: new(lockedBuffer)}
	if err := os.MkdirAll(d.Mountpoint, 0o755); err != nil {
		return nil, err
	}
	return d, d.start(ctx, path, "-f", "-l", "--enable-cfs", "-p", filepath.Join(dir, "rival.pid"), d.Mountpoint)
}

func (d *Daemon) start(ctx context.Context, path string, args ...string) error {
	d.cmd = exec.Command(path, args...)
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
	err := d.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-d.done
	return err
}

// Unmount takes what is mounted on the mount point away.
func (d *Daemon) Unmount() error {
	err := syscall.Unmount(d.Mountpoint, syscall.MNT_DETACH)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}
