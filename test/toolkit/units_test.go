//go:build integration

package toolkit

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"palisade/test/ctr"
)

// service runs the commands of a unit in the order in which systemd does (systemd.service(5)), where there is none.
type service struct {
	commands map[string][]string
	programs *strings.Replacer
	main     *exec.Cmd
}

func readService(t *testing.T, file string) *service {
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
		programs: strings.NewReplacer("/usr/bin/lxcfs-toolkit", shared.toolkit, "/usr/bin/lxcfs", shared.lxcfs),
	}
	for _, o := range options {
		if o.Section == "Service" {
			s.commands[o.Name] = append(s.commands[o.Name], o.Value)
		}
	}
	if got := s.commands["Type"]; len(got) != 1 || got[0] != "notify" {
		t.Fatalf("Type is %q: only notify is known here", got)
	}
	return s
}

func (s *service) command(line string) *exec.Cmd {
	fields := strings.Fields(s.programs.Replace(line))
	return exec.Command(fields[0], fields[1:]...)
}

// runAll runs the commands of a kind to their ends.
func (s *service) runAll(t *testing.T, kind string) {
	t.Helper()
	if len(s.commands[kind]) == 0 {
		t.Fatalf("the unit has no %s", kind)
	}
	for _, line := range s.commands[kind] {
		line, lenient := strings.CutPrefix(line, "-")
		if out, err := s.command(line).CombinedOutput(); err != nil {
			t.Errorf("%s=%s: %v: %s", kind, line, err, out)
			if !lenient {
				t.FailNow()
			}
		}
	}
}

// start does what systemctl start does.
func (s *service) start(t *testing.T) {
	t.Helper()
	s.runAll(t, "ExecStartPre")
	name := filepath.Join("/run", "notify-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(name)
	defer socket.Close()
	s.main = s.command(s.commands["ExecStart"][0])
	s.main.Env = append(os.Environ(), "NOTIFY_SOCKET="+name)
	s.main.Stderr = os.Stderr
	if err := s.main.Start(); err != nil {
		t.Fatal(err)
	}
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("the service is not ready: %v", err)
		}
		if strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
			break
		}
	}
	s.runAll(t, "ExecStartPost")
}

// end does what systemd does when the main process ends, here by a signal.
func (s *service) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := s.main.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	s.main.Wait() // it ends in error when it is killed
	s.runAll(t, "ExecStopPost")
}

// TestUnits starts, stops, crashes and restarts lxcfs as its unit says, under a container.
func TestUnits(t *testing.T) {
	h := newHost(t)
	ownLib(t)
	h.mountpoint = "/var/lib/lxc/lxcfs"
	s := readService(t, "../../rpm/lxcfs.service")
	s.start(t)
	ended := false
	defer func() {
		if !ended {
			s.end(t, syscall.SIGKILL)
		}
		unmount(t, filepath.Dir(h.mountpoint))
	}()
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	checkVirtual(t, h, c, 64*mib)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s.end(t, signal)
		if text := inside(t, c, "head", "-n", "1", "/proc/meminfo"); !strings.HasPrefix(string(total), text) {
			t.Errorf("after %v the container reads %q", signal, text)
		}
		if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
			t.Errorf("after %v the container has %q", signal, got)
		}
		s.start(t)
		checkVirtual(t, h, c, 64*mib)
	}
	s.end(t, syscall.SIGTERM)
	ended = true
}
