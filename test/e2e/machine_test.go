//go:build integration

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// machine is a clean root with an overlay of this machine's /usr, in which systemd is the init, in
// its own namespaces and cgroups. The root survives a reboot.
type machine struct {
	root string
	// usr is the lower directory of its /usr.
	usr     string
	cgroups []string
	systemd *exec.Cmd
	// pid is the init in our pid namespace, "" while the machine is off.
	pid   string
	log   ctr.LockedBuffer
	ended chan struct{}
}

// waitTime is the timeout of each wait. It is long because the CPU may be emulated.
const waitTime = 3 * time.Minute

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{root: filepath.Join(t.TempDir(), "root")}
	if err := os.Mkdir(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if m.usr = os.Getenv("PALISADE_USR"); m.usr == "" {
		m.usr = "/usr"
	}
	if out, err := exec.Command("sh", "testdata/root.sh", m.root, m.usr).CombinedOutput(); err != nil {
		t.Fatalf("create the root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		m.kill()
		for _, dir := range m.cgroups {
			engine.WaitFor(t, dir+" is empty", func() bool { engine.RemoveCgroups(dir); _, err := os.Stat(dir); return err != nil })
		}
		syscall.Unmount(filepath.Join(m.root, "usr"), syscall.MNT_DETACH) // ends with our namespace anyway
		syscall.Unmount(m.root, syscall.MNT_DETACH)
	})
	m.cgroups = engine.MakeCgroups(t, "palisade-e2e")
	return m
}

// boot starts systemd, and waits until all enabled units are started.
func (m *machine) boot() error {
	boot, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		return err
	}
	args := append([]string{"--mount", "--ipc", "--uts", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", engine.EnterCgroups, "sh"}, m.cgroups...)
	m.systemd = exec.Command("unshare", append(args, "--", "sh", boot, m.root, engine.MountCgroups)...)
	m.systemd.Stdout, m.systemd.Stderr = &m.log, &m.log
	if err := m.systemd.Start(); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait() // killed, or powered off
		close(ended)
	}(m.systemd, m.ended)
	for deadline := time.Now().Add(waitTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.systemd.Process.Pid))
		if err != nil || len(children) == 0 {
			continue
		}
		m.pid = strings.Fields(string(children))[0]
		if _, err := m.run("systemctl", "is-active", "--quiet", "multi-user.target"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("systemd does not start: %s", m.log.String())
}

// powerOff makes systemd stop all services and exit.
func (m *machine) powerOff() error {
	if _, err := m.run("kill", "-s", "RTMIN+4", "1"); err != nil { // as systemctl poweroff
		return err
	}
	select {
	case <-m.ended:
		m.pid = ""
		return nil
	case <-time.After(waitTime):
		return fmt.Errorf("systemd does not exit: %s", m.log.String())
	}
}

// kill kills the machine, if it runs.
func (m *machine) kill() {
	if m.systemd == nil || m.ended == nil {
		return
	}
	m.systemd.Process.Kill() // may have exited
	<-m.ended
	m.pid = ""
}

// path returns our path of a file in the machine.
func (m *machine) path(name string) string {
	if m.pid == "" {
		return filepath.Join(m.root, name)
	}
	return "/proc/" + m.pid + "/root" + name
}

// run runs a program in the machine, and returns its output.
func (m *machine) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	args = append([]string{"--target", m.pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("timed out after %v", waitTime)
	}
	return string(out), err
}

// read returns the content of a file in the machine, or the error.
func (m *machine) read(name string) string {
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (m *machine) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(name), []byte(text), 0o644)
}
