package engine

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
)

// Machine is a root file system in which systemd is the init, in its own namespaces and cgroups.
// The root survives a reboot.
type Machine struct {
	Root string
	// MountCgroups is the shell script that mounts the cgroup hierarchies.
	MountCgroups string

	cgroups []string
	systemd *exec.Cmd
	// pid is the init in our pid namespace, "" while the machine is off.
	pid   string
	log   ctr.LockedBuffer
	ended chan struct{} // closed after err is set
	err   error
}

// WaitTime is the timeout of each wait. It is long because the CPU may be emulated.
const WaitTime = 3 * time.Minute

// NewMachine creates a machine with the root that a shell script mounts on its first argument. The
// other arguments are args.
func NewMachine(t testing.TB, script string, args ...string) *Machine {
	t.Helper()
	m := &Machine{Root: filepath.Join(t.TempDir(), "root"), MountCgroups: MountCgroups}
	m.cgroups = MakeCgroups(t, "palisade-machine")
	if err := os.Mkdir(m.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		for exec.Command("umount", "--recursive", "--lazy", m.Root).Run() == nil {
			// The script may have mounted several file systems.
		}
	})
	out, err := exec.Command("bash", append([]string{script, m.Root}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("create the root: %v: %s", err, out)
	}
	return m
}

// boot is a shell script that executes systemd in the root $1, whose cgroups the script $2 mounts,
// and starts the unit $3. It needs new pid, mount, network and cgroup namespaces.
//
//go:embed boot.sh
var boot string

// Boot starts systemd, and waits until the unit is active. It fails as soon as systemd has exited
// or the unit has failed.
func (m *Machine) Boot(unit string) error {
	args := append([]string{"--mount", "--ipc", "--uts", "--net", "--pid", "--fork", "--kill-child",
		"sh", "-c", EnterCgroups, "sh"}, m.cgroups...)
	args = append(args, "--", "sh", "-c", boot, "sh", m.Root, m.MountCgroups, unit)
	m.systemd = exec.Command("unshare", args...)
	m.systemd.Stdout, m.systemd.Stderr = &m.log, &m.log
	if err := m.systemd.Start(); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func() {
		m.err = m.systemd.Wait() // killed, or powered off
		close(m.ended)
	}()
	timeout := time.After(WaitTime)
	for {
		select {
		case <-m.ended:
			return fmt.Errorf("systemd has exited: %v: %s", m.err, m.Console())
		case <-timeout:
			return fmt.Errorf("systemd does not start: %s", m.Console())
		case <-time.After(50 * time.Millisecond):
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.systemd.Process.Pid))
		if err != nil || len(children) == 0 {
			continue
		}
		m.pid = strings.Fields(string(children))[0]
		state, err := m.Exec("systemctl", "is-active", unit)
		if err == nil {
			return nil
		}
		if strings.TrimSpace(state) == "failed" {
			return fmt.Errorf("%s failed: %s", unit, m.Console())
		}
	}
}

// IsOn reports whether the machine runs.
func (m *Machine) IsOn() bool { return m.pid != "" }

// Console returns the log of systemd.
func (m *Machine) Console() string { return m.log.String() }

// PowerOff makes systemd stop all services and exit.
func (m *Machine) PowerOff() error {
	if _, err := m.Exec("kill", "-s", "RTMIN+4", "1"); err != nil { // as systemctl poweroff
		return err
	}
	select {
	case <-m.ended:
		m.pid = ""
		return nil
	case <-time.After(WaitTime):
		return fmt.Errorf("systemd does not exit: %s", m.Console())
	}
}

// Kill kills the machine, if it runs.
func (m *Machine) Kill() {
	if m.ended == nil {
		return
	}
	m.systemd.Process.Kill() // may have exited
	<-m.ended
	m.pid = ""
}

// Path returns our path of a file in the machine.
func (m *Machine) Path(name string) string {
	if m.pid == "" {
		return filepath.Join(m.Root, name)
	}
	return "/proc/" + m.pid + "/root" + name
}

// Exec runs a program in the machine, and returns its output.
func (m *Machine) Exec(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), WaitTime)
	defer cancel()
	out, err := m.Command(ctx, args...).CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("timed out after %v", WaitTime)
	}
	return string(out), err
}

// Command returns the command that runs a program in the machine.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--target", m.pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wd", "--"}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	cmd.WaitDelay = time.Second
	return cmd
}

// ReadFile returns the content of a file in the machine, or the error.
func (m *Machine) ReadFile(name string) string {
	text, err := os.ReadFile(m.Path(name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// WriteFile writes a file in the machine, and creates its directory.
func (m *Machine) WriteFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(m.Path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.Path(name), []byte(text), 0o644)
}
