//go:build integration

package toolkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// service stands in for systemd: it runs the commands of a unit in the order of systemd.service(5).
type service struct {
	commands map[string][]string
	programs *strings.Replacer
	keeper   *ctr.Keeper
	main     *exec.Cmd
	// restart is the value of Restart, which drop-ins may change.
	restart string
}

func readService(t *testing.T, file, dir string) *service {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		commands: make(map[string][]string),
		programs: strings.NewReplacer("/usr/bin/lxcfs-toolkit", shared.toolkit, "/usr/bin/lxcfs", shared.lxcfs, "%n", "lxcfs.service", "$LXCFS_OPTIONS ", ""),
	}
	for _, o := range options {
		if o.Section == "Service" {
			s.commands[o.Name] = append(s.commands[o.Name], o.Value)
		}
	}
	if got := s.commands["Type"]; len(got) != 1 || got[0] != "notify" || s.commands["FileDescriptorStoreMax"] == nil || s.commands["CapabilityBoundingSet"] == nil {
		t.Fatalf("got Type %q, want notify with an fd store and a bounding set", got)
	}
	s.restart = s.commands["Restart"][0]
	if s.keeper, err = ctr.NewKeeper(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.keeper.Close)
	return s
}

// confined returns a command line with the programs of this test and the capabilities of the unit.
func (s *service) confined(line string) []string {
	bounding := "-all"
	for name := range strings.FieldsSeq(s.commands["CapabilityBoundingSet"][0]) {
		bounding += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	return append([]string{"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=" + bounding}, strings.Fields(s.programs.Replace(line))...)
}

// runAll runs the commands of a kind.
func (s *service) runAll(t *testing.T, kind string, env ...string) {
	t.Helper()
	if len(s.commands[kind]) == 0 {
		t.Fatalf("the unit has no %s", kind)
	}
	for _, line := range s.commands[kind] {
		line, lenient := strings.CutPrefix(line, "-")
		if s.main != nil {
			line = strings.ReplaceAll(line, "$MAINPID", strconv.Itoa(s.main.Process.Pid))
		}
		fields := s.confined(line)
		cmd := exec.Command(fields[0], fields[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s=%s: %v: %s", kind, line, err, out)
			if !lenient {
				t.FailNow()
			}
		}
	}
}

// start does the same as systemctl start.
func (s *service) start(t *testing.T) {
	t.Helper()
	s.runAll(t, "ExecStartPre")
	fields := s.confined(s.commands["ExecStart"][0])
	s.main = s.keeper.Command(fields[0], fields[1:]...)
	if err := s.main.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.keeper.Ready:
	case <-time.After(time.Minute):
		t.Fatal("timed out waiting for the service")
	}
	s.runAll(t, "ExecStartPost")
}

// end terminates the main process by a signal, and runs what systemd runs then. job is the output
// of systemctl list-jobs.
func (s *service) end(t *testing.T, signal syscall.Signal, job string) {
	t.Helper()
	if err := s.main.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	s.main.Wait() // fails if killed
	result := "success"
	if signal == syscall.SIGKILL {
		result = "signal"
	}
	s.stopPost(t, job, 0, "SERVICE_RESULT="+result)
	if strings.Contains(job, " stop ") || s.restart == "no" {
		s.keeper.Drop()
	}
}

// stopPost runs ExecStopPost with a job, for a unit that has been inactive for some time.
func (s *service) stopPost(t *testing.T, job string, inactive time.Duration, env ...string) {
	t.Helper()
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in list-jobs) echo '%s' ;; show) printf 'Restart=%s\\nActiveExitTimestampMonotonic=%d\\n' ;; esac\n",
		job, s.restart, (sys.Monotonic() - inactive).Microseconds())
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.runAll(t, "ExecStopPost", append(env, "PATH="+bin+":"+os.Getenv("PATH"))...)
}

// fail runs what systemd runs if the main process exits with an exit code at its start.
func (s *service) fail(t *testing.T, code int, inactive time.Duration) {
	t.Helper()
	s.stopPost(t, startJob, inactive, "SERVICE_RESULT=exit-code", "EXIT_CODE=exited", "EXIT_STATUS="+strconv.Itoa(code))
}

const (
	stopJob    = "7 lxcfs.service stop running"
	restartJob = "8 lxcfs.service restart running"
	startJob   = "9 lxcfs.service start running" // a restart job becomes this after the stop
)

// TestUnits checks start, stop, crash, restart and upgrade of lxcfs with its unit, under a
// container.
func TestUnits(t *testing.T) {
	h := newHost(t)
	engine.OwnLib(t)
	h.mountpoint = "/var/lib/lxc/lxcfs"
	s := readService(t, "../../rpm/lxcfs.service", h.dir)
	s.start(t)
	running := true
	defer func() {
		if running {
			s.end(t, syscall.SIGKILL, stopJob)
		}
		unmount(t, filepath.Dir(h.mountpoint))
	}()
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	checkVirtual(t, h, c, 64*mib)
	mountsBefore := lxcfsMountIDs(t, c)
	for _, tt := range []struct {
		signal syscall.Signal
		job    string
	}{{syscall.SIGTERM, restartJob}, {syscall.SIGKILL, ""}, {syscall.SIGTERM, ""}} { // the last is systemctl kill
		s.end(t, tt.signal, tt.job)
		read := make(chan string)
		go func() {
			text, err := c.Exec(t.Context(), "head", "-n", "1", "/proc/meminfo")
			read <- fmt.Sprint(text, err)
		}()
		select {
		case text := <-read:
			t.Errorf("after %v: the container reads %q, want it to wait", tt.signal, text)
		case <-time.After(300 * time.Millisecond):
		}
		s.start(t)
		if text := <-read; !strings.HasSuffix(text, " 65536 kB\n<nil>") {
			t.Errorf("after %v: the container reads %q", tt.signal, text)
		}
		checkVirtual(t, h, c, 64*mib)
	}
	s.runAll(t, "ExecReload")
	checkVirtual(t, h, c, 64*mib)
	if after := lxcfsMountIDs(t, c); after != mountsBefore {
		t.Errorf("the container's mounts changed: got\n%s\nwant\n%s", after, mountsBefore)
	}

	for _, tt := range []struct{ job, restart string }{{stopJob, s.restart}, {"", "no"}} {
		s.restart = tt.restart
		s.end(t, syscall.SIGTERM, tt.job)
		running = false
		if text := inside(t, c, "head", "-n", "1", "/proc/meminfo"); !strings.HasPrefix(string(total), text) {
			t.Errorf("after a stop: the container reads %q, want the host's", text)
		}
		if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
			t.Errorf("after a stop: mounts of lxcfs remain: %q", got)
		}
		s.start(t)
		running = true
		checkVirtual(t, h, c, 64*mib)
	}
	s.end(t, syscall.SIGTERM, stopJob)
	running = false
}

// setServingSince replaces the recorded time since which the server has served.
func (h *host) setServingSince(t *testing.T, since time.Duration) {
	t.Helper()
	file := filepath.Join(probe.RuntimeDir(probe.DefaultRuntimeDir, h.mountpoint), "serving-since")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, strconv.AppendInt(nil, int64(since), 10), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestUnitFails checks that readers wait for half a minute if lxcfs does not start again while
// systemd stores its files, and not at all after an error in its command line.
func TestUnitFails(t *testing.T) {
	h := newHost(t)
	engine.OwnLib(t)
	h.mountpoint = "/var/lib/lxc/lxcfs"
	s := readService(t, "../../rpm/lxcfs.service", h.dir)
	if got := s.commands["RestartPreventExitStatus"]; len(got) != 1 || got[0] != "2" {
		t.Errorf("got RestartPreventExitStatus %q, want 2", got)
	}
	s.start(t)
	defer func() {
		s.end(t, syscall.SIGKILL, stopJob)
		unmount(t, filepath.Dir(h.mountpoint))
	}()
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	s.fail(t, 1, time.Hour) // while another lxcfs serves
	checkVirtual(t, h, c, 64*mib)
	for _, tt := range []struct {
		code     int
		inactive time.Duration
	}{{2, time.Second}, {1, 31 * time.Second}} {
		s.end(t, syscall.SIGTERM, restartJob)
		read := make(chan string)
		go func() {
			text, err := c.Exec(t.Context(), "head", "-n", "1", "/proc/meminfo")
			read <- fmt.Sprint(text, err)
		}()
		s.fail(t, 1, time.Second)
		s.fail(t, 1, time.Minute) // it has served since then, although ExecStartPost was not completed
		select {
		case text := <-read:
			t.Errorf("the container reads %q, want it to wait", text)
		case <-time.After(300 * time.Millisecond):
		}
		h.setServingSince(t, sys.Monotonic()-tt.inactive)
		s.fail(t, tt.code, tt.inactive)
		select {
		case <-read: // may be an error
		case <-time.After(5 * time.Second):
			t.Errorf("after exit code %d: an earlier reader still waits", tt.code)
		}
		if text := inside(t, c, "head", "-n", "1", "/proc/meminfo"); strings.HasSuffix(text, " 65536 kB\n") {
			t.Errorf("after exit code %d: the container reads %q, want the host's", tt.code, text)
		}
		if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
			t.Errorf("after exit code %d: mounts of lxcfs remain: %q", tt.code, got)
		}
		s.start(t)
		checkVirtual(t, h, c, 64*mib)
	}
}

// lxcfsMountIDs returns the lines of lxcfs in the container's mount table.
func lxcfsMountIDs(t *testing.T, c *ctr.Container) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "fuse.lxcfs") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}
