package ctr

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Namespaces is a container without a runtime and a cgroup: a sleeping process with mount and pid
// namespaces and a root file system. A hundred of them cost less than ten containers.
type Namespaces struct {
	PID int
	// Root is the root file system on the host.
	Root string
	cmd  *exec.Cmd
}

const (
	// prepareRoot mounts the root file system at $0 with a procfs and a sysfs, as runtimes do.
	prepareRoot = `mount --bind "$0" "$0" && cd "$0" && mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && `
	// enterRoot makes it the process's root.
	enterRoot = `exec chroot . /bin/sh -c 'echo ready; exec sleep 1000000'`
	// waitAtRoot stops before that.
	waitAtRoot = `echo ready; exec sleep 1000000`
)

// StartNamespaces starts a process in new namespaces, on the root file system rootfs.
func StartNamespaces(rootfs string) (*Namespaces, error) {
	return startNamespaces(rootfs, prepareRoot+enterRoot)
}

// StartStarting starts one in the state in which a runtime calls the hook: everything is mounted
// below rootfs, which is not yet the process's root.
func StartStarting(rootfs string) (*Namespaces, error) {
	return startNamespaces(rootfs, prepareRoot+waitAtRoot)
}

func startNamespaces(rootfs, script string) (*Namespaces, error) {
	n := &Namespaces{Root: rootfs}
	n.cmd = exec.Command("sh", "-c", script, rootfs)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Setpgid: true,
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.PID = n.cmd.Process.Pid
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("enter %s: %w", rootfs, err), n.Stop())
	}
	return n, nil
}

// StartPeer starts a process in a new mount namespace whose mounts are peers of this one's.
func StartPeer() (*Namespaces, error) {
	n := &Namespaces{Root: "/", cmd: exec.Command("sleep", "1000000")}
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.PID = n.cmd.Process.Pid
	return n, nil
}

// State returns the OCI state that a runtime would pass to a hook.
func (n *Namespaces) State() string {
	return fmt.Sprintf(`{"ociVersion":"1.0.2","id":"namespaces-%d","status":"creating","pid":%d,"root":%q,"bundle":%q}`,
		n.PID, n.PID, n.Root, filepath.Dir(n.Root))
}

// Stop kills the process, and so removes the namespaces.
func (n *Namespaces) Stop() error {
	err := n.cmd.Process.Kill()
	var killed *exec.ExitError
	if err := n.cmd.Wait(); err != nil && !errors.As(err, &killed) {
		return err
	}
	return err
}
