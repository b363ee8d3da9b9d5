package probe

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/internal/inject/lxcfstest"
	"palisade/internal/linux/sys"
	"palisade/internal/linux/testns"
)

// serveVariable is the mount point that a process of TestDead serves until it is killed.
const serveVariable = "PALISADE_TEST_SERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveVariable); dir != "" {
		if err := lxcfstest.Mount(dir); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("serving\n")
		time.Sleep(time.Hour)
	}
	testns.Main(m)
}

func look(t *testing.T, dir string) Result {
	t.Helper()
	found, err := Look(t.Context(), dir, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLook probes a healthy lxcfs, and directories without one.
func TestLook(t *testing.T) {
	testns.Need(t)
	dir := t.TempDir()
	if r := look(t, dir); r.State != NotMounted || r.Reason != "nothing is mounted there" {
		t.Errorf("nothing: %+v", r)
	}
	lxcfstest.Serve(t, dir)
	want := []string{"proc/meminfo", "proc/uptime", "sys/devices/system/cpu"}
	r := look(t, dir)
	if r.State != Healthy || !slices.Equal(r.Files, want) || r.PID != os.Getpid() ||
		r.Server.Version != "test" {
		t.Errorf("healthy: %+v", r)
	}
	if err := sys.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer sys.Unmount(dir, sys.UnmountDetach)
	if r := look(t, dir); r.State != NotMounted || !strings.Contains(r.Reason, "tmpfs of type tmpfs") {
		t.Errorf("covered: %+v", r)
	}
}

// TestDead stops a server, and kills it.
func TestDead(t *testing.T) {
	testns.Need(t)
	dir := t.TempDir()
	server := exec.Command("/proc/self/exe")
	server.Env = append(os.Environ(), serveVariable+"="+dir)
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	defer sys.Unmount(dir, sys.UnmountDetach|sys.UnmountForce)
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	found, err := Look(t.Context(), dir, 200*time.Millisecond)
	if err != nil || found.State != Wedged || found.Reason != "it does not answer in time" {
		t.Errorf("stopped: %+v, %v", found, err)
	}
	server.Process.Kill()
	server.Wait()
	if r := look(t, dir); r.State != Dead {
		t.Errorf("killed: %+v", r)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	found, err = UnmountDead(t.Context(), dir, time.Second, logger)
	if err != nil || found.State != NotMounted || !strings.Contains(log.String(), "unmounted a dead lxcfs") {
		t.Errorf("got %+v, %v, %s", found, err, &log)
	}
}

// TestLastServing records the time at which a server began to serve.
func TestLastServing(t *testing.T) {
	testns.Need(t)
	dir := RuntimeDir(DefaultRuntimeDir, "/mnt/point")
	if at := LastServing("/mnt/point"); at != 0 {
		t.Errorf("none has served: %v", at)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before := sys.Monotonic()
	if err := RecordServing(dir); err != nil {
		t.Fatal(err)
	}
	if at := LastServing("/mnt/point"); at < before || at > sys.Monotonic() {
		t.Errorf("it began to serve at %v, want %v", at, before)
	}
}
