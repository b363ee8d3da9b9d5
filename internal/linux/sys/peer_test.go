package sys

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"palisade/internal/linux/testns"
)

// connectVariable names the socket to which a process of this test binary connects.
const connectVariable = "PALISADE_CONNECT_TO"

// connectAsPeer connects to the socket, and ends when its standard input is closed.
func connectAsPeer(path string) {
	if _, err := net.Dial("unix", path); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("connected")
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// startPeer starts a process that has connected to the socket. end ends it.
func startPeer(t *testing.T, path string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), connectVariable+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 100)
	if n, err := stdout.Read(text); err != nil || string(text[:n]) != "connected\n" {
		t.Fatalf("%s, %v", text[:n], err)
	}
	return cmd.Process.Pid, func() {
		stdin.Close()
		cmd.Wait()
	}
}

func acceptPeer(t *testing.T, l net.Listener) *net.UnixConn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

func TestOpenPeer(t *testing.T) {
	testns.Need(t)
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid, end := startPeer(t, path)
	conn := acceptPeer(t, l)
	p, err := OpenPeer(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Dir.Close()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	equal := slices.EqualFunc(p.Groups, groups, func(a uint32, b int) bool { return int(a) == b })
	if p.PID != pid || int(p.UID) != os.Geteuid() || int(p.GID) != os.Getegid() || !equal {
		t.Errorf("got %+v, want pid %d, groups %d", p, pid, groups)
	}
	text, err := p.Dir.ReadFileAt("stat", nil)
	if got := string(text[:min(len(text), len(strconv.Itoa(pid)))]); got != strconv.Itoa(pid) {
		t.Errorf("read stat: %q, %v", text, err)
	}
	end()
	if _, err := p.Dir.ReadFileAt("stat", nil); err == nil {
		t.Error("the directory can be read after the process has ended")
	}
	if _, err := OpenPeer(conn); !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.ENOENT) {
		t.Errorf("after the process has ended: %v", err)
	}
}

// TestOpenPeerReusedPID gives the pid of a process that has connected and ended to another.
func TestOpenPeerReusedPID(t *testing.T) {
	testns.Need(t)
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 20 {
		pid, end := startPeer(t, path)
		end()
		conn := acceptPeer(t, l)
		last := []byte(strconv.Itoa(pid - 1))
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", last, 0); err != nil {
			t.Skip(err)
		}
		other := exec.Command("sleep", "1000")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			other.Process.Kill()
			other.Wait()
		}()
		if other.Process.Pid != pid {
			continue // a thread has got it
		}
		p, err := OpenPeer(conn)
		if err == nil && !p.Pinned {
			p.Dir.Close()
			t.Skip("the kernel has no SO_PEERPIDFD")
		}
		if !errors.Is(err, syscall.ESRCH) || p.Dir != (File{}) {
			t.Errorf("got %+v, %v", p, err)
		}
		return
	}
	t.Skip("no process got the pid of another")
}
