//go:build integration

package authz

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/engine"
)

// TestSyslog checks the audit log in a system log, which the test replaces.
func TestSyslog(t *testing.T) {
	b := prepare(t, everything)
	if canDial("/dev/log") {
		hideRealLog(t)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/syslog", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer os.Remove("/run/syslog")
	b.start(t, exec.Command(shared.broker, b.args("--audit", "syslog")...))
	isuladCode(t, b.isulad, "alice:pull")
	l.SetReadDeadline(time.Now().Add(20 * time.Second))
	text := make([]byte, 4096)
	n, err := l.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "authz-broker") || !strings.Contains(string(text[:n]), `"action":"pull"`) {
		t.Errorf("got %q, %v, want an audit record", text[:n], err)
	}
}

// hideRealLog hides the machine's own system log from the broker.
func hideRealLog(t *testing.T) {
	t.Helper()
	if err := syscall.Mount("/dev/null", "/dev/log", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount("/dev/log", syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestServiceManager passes a socket to the broker and receives its notifications, as systemd does.
func TestServiceManager(t *testing.T) {
	b := prepare(t, everything)
	if err := os.Mkdir(filepath.Join(b.dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(b.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	expect := func(want string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(20 * time.Second))
		text := make([]byte, 4096)
		n, err := manager.Read(text)
		if lines := strings.Split(string(text[:n]), "\n"); err != nil || !slices.Contains(lines, want) {
			t.Fatalf("got notification %q, %v, want %s; log: %s", text[:n], err, want, b.log)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.docker, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	passed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	l.Close() // passed still listens
	pass := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, shared.broker}, args...)...)
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+manager.LocalAddr().String())
		cmd.ExtraFiles = []*os.File{passed}
		return cmd
	}
	b.start(t, pass(b.args()...))
	expect("READY=1")
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	b.signal(t, syscall.SIGHUP)
	expect("RELOADING=1")
	expect("READY=1")
	b.signal(t, syscall.SIGTERM)
	expect("STOPPING=1")
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// The manager's socket stays open: the next broker answers a request that arrives meanwhile.
	answered := make(chan string)
	go func() { answered <- ask(t, b.docker, info) }()
	b.start(t, pass(b.args()...))
	expect("READY=1")
	if text := <-answered; text != `{"Allow":true}` {
		t.Error(text)
	}
	b.signal(t, syscall.SIGTERM)
	b.wait(t)
	b.launch(t, pass(b.args("--docker-socket", b.docker+"2")...))
	if code := b.wait(t); code != 1 || !strings.Contains(b.log.String(), "passed a socket that is neither") {
		t.Errorf("exit code %d: %s", code, b.log)
	}
}

// TestReaderOfAudit checks that the broker still decides after the reader of its audit log has
// gone.
func TestReaderOfAudit(t *testing.T) {
	b := prepare(t, everything)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shared.broker, b.args("--audit", "stdout")...)
	cmd.Stdout = w
	b.start(t, cmd)
	w.Close()
	r.Close()
	for range 3 {
		if text := ask(t, b.docker, info); text != `{"Allow":true}` {
			t.Error(text)
		}
	}
	engine.WaitFor(t, "a log line", func() bool { return strings.Contains(b.log.String(), "cannot write the audit log") })
	b.signal(t, syscall.SIGTERM)
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
