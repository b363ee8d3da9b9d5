//go:build integration

package toolkit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// TestCheck checks the text, JSON and exit code of check-lxcfs for all states of lxcfs, in bounded
// time.
func TestCheck(t *testing.T) {
	h := newHost(t)
	check := func(code int, state string) {
		t.Helper()
		started := time.Now()
		r := h.run(t, "", "check-lxcfs")
		if r.Code != code || !strings.HasPrefix(r.Stdout, "lxcfs on "+h.mountpoint+" is "+state) {
			t.Errorf("%+v, want exit code %d and %q", r, code, state)
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("check-lxcfs took %v, want at most 10s", took)
		}
		var found struct {
			Mountpoint, State, Reason string
			PID                       int
			Server                    *struct {
				PID, Containers int
				Version         string
				Uptime          float64 `json:"uptime_seconds"`
			}
		}
		r = h.run(t, "", "check-lxcfs", "--json")
		if err := json.Unmarshal([]byte(r.Stdout), &found); err != nil || r.Code != code || found.State != state {
			t.Errorf("%+v, %v, want %q", r, err, state)
		}
		if healthy := code == 0; healthy != (found.Reason == "") || healthy && (found.Server == nil ||
			found.PID != h.daemon.PID() || found.Server.Version == "" || found.Server.Uptime <= 0) {
			t.Errorf("%s", r.Stdout)
		}
	}
	check(3, "not mounted")
	h.start(t)
	check(0, "healthy")
	c := h.container(t, ctr.Options{})
	inside(t, c, "cat", "/proc/uptime")
	if r := h.must(t, "check-lxcfs"); !strings.Contains(r.Stdout, "containers served: 1") {
		t.Errorf("%s", r.Stdout)
	}
	if text := inside(t, c, "sh", "-c", "find / -xdev -name status"); strings.Contains(text, "lxcfs") {
		t.Errorf("the container sees %s", text)
	}
	if err := h.daemon.Freeze(); err != nil {
		t.Fatal(err)
	}
	check(5, "wedged")
	if r := h.run(t, "", "remount", "--all", "--timeout", "1s"); r.Code != 1 || !strings.Contains(r.Stderr, "wedged") {
		t.Errorf("remount: %+v", r)
	}
	h.must(t, "list")
	h.must(t, "umount", "--all")
	if err := h.daemon.Thaw(); err != nil {
		t.Fatal(err)
	}
	check(0, "healthy")
	h.kill(t)
	check(4, "dead")
	h.must(t, "prestart") // unmounts it
	t.Cleanup(func() { unmount(t, filepath.Dir(h.mountpoint)) })
	check(3, "not mounted")
	if err := syscall.Mount("tmpfs", h.mountpoint, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, h.mountpoint)
	check(3, "not mounted")
}

// TestPrestart checks that prestart is idempotent, and keeps file systems of an administrator.
func TestPrestart(t *testing.T) {
	h := newHost(t)
	parent := filepath.Dir(h.mountpoint)
	h.must(t, "prestart")
	defer unmount(t, parent)
	once := hostMounts(t)
	if n := strings.Count(once, " "+parent+" "); n != 1 {
		t.Errorf("got %d mounts on %s, want 1", n, parent)
	}
	h.must(t, "prestart")
	h.start(t)
	h.must(t, "prestart")
	h.must(t, "check-lxcfs")
	h.stop(t)
	if again := hostMounts(t); again != once {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", again, once)
	}
	if err := syscall.Mount("tmpfs", h.mountpoint, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, h.mountpoint)
	own := filepath.Join(h.mountpoint, "own")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.must(t, "prestart")
	if _, err := os.Stat(own); err != nil {
		t.Error("the administrator's file system is gone")
	}
}

// TestUndoPrestart checks that prestart --undo unmounts only what prestart has mounted, nothing
// that was mounted later on it or in its place.
func TestUndoPrestart(t *testing.T) {
	h := newHost(t)
	parent := filepath.Dir(h.mountpoint)
	clean := hostMounts(t)
	undo := func(code int, message string) {
		t.Helper()
		before := hostMounts(t)
		r := h.run(t, "", "prestart", "--undo")
		if r.Code != code || !strings.Contains(r.Stderr, message) {
			t.Errorf("%+v, want exit code %d and %q", r, code, message)
		}
		if code != 0 && hostMounts(t) != before {
			t.Errorf("mounts changed: got\n%s\nwant\n%s", hostMounts(t), before)
		}
	}
	mountOwn := func(target string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", target, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	undo(0, "")
	h.must(t, "prestart")
	mountOwn(parent)
	undo(1, "unmount "+parent)
	unmount(t, parent)
	mountOwn(h.mountpoint)
	undo(1, "busy")
	unmount(t, h.mountpoint)
	undo(0, "")
	if after := hostMounts(t); after != clean {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, clean)
	}
	undo(0, "")

	h.must(t, "prestart")
	unmount(t, parent)
	mountOwn(parent) // the kernel gives it the same ID
	undo(1, "unmount "+parent)
	unmount(t, parent)
	undo(0, "")
}

// TestSelection checks the selection of containers by id, prefix, ambiguous prefix and unknown id.
func TestSelection(t *testing.T) {
	h := newHost(t)
	h.start(t)
	a, b := h.container(t, ctr.Options{}), h.container(t, ctr.Options{Runtime: "crun"})
	h.must(t, "umount", "-a")
	h.must(t, "remount", "-c", a.ID)
	if n, m := len(lxcfsMounts(t, strconv.Itoa(a.PID))), len(lxcfsMounts(t, strconv.Itoa(b.PID))); n == 0 || m != 0 {
		t.Errorf("got %d mounts of lxcfs in the selected container and %d in the other", n, m)
	}
	h.must(t, "remount", "-c", b.ID[:len(b.ID)-2])
	for _, tt := range []struct {
		id   string
		want []string
	}{
		{"palisade-", []string{a.ID, b.ID}}, // ambiguous
		{"nobody", []string{`"nobody"`}},
	} {
		r := h.run(t, "", "umount", "--container-id", tt.id)
		if r.Code != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("umount -c %s: %+v", tt.id, r)
		}
		for _, want := range tt.want {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("umount -c %s: %s, want %s in it", tt.id, r.Stderr, want)
			}
		}
	}
	r := h.must(t, "list")
	for _, want := range []string{a.ID, b.ID, "runc", "crun", "meminfo,partitions"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("list lacks %q: %s", want, r.Stdout)
		}
	}
}

// TestBadCommandLines checks that invalid command lines give exit code 2 and one line with the
// invalid argument.
func TestBadCommandLines(t *testing.T) {
	h := newHost(t)
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "COMMAND is missing"},
		{"frobnicate", `"frobnicate"`},
		{"remount", "--all"},
		{"remount --all --container-id x", "exclude"},
		{"remount --all x", `"x"`},
		{"remount --all --jobs 0", "--jobs 0"},
		{"remount --all --jobs many", "many"},
		{"remount --all --timeout fast", "fast"},
		{"remount --all --timeout -1s", "-1s"},
		{"--while-pid 0 remount --all", "--while-pid 0"},
		{"--while-pid me remount --all", "me"},
		{"umount --container-id=", "names no container"},
		{"umount --frob", "frob"},
		{"check-lxcfs now", `"now"`},
		{"prestart now", `"now"`},
		{"hook now", `"now"`},
		{"top", "--once"},
		{"top now", `"now"`},
		{"top --once now", `"now"`},
		{"top --json", "--json needs --once"},
		{"top --once --sort color", `"color"`},
		{"top --once --interval fast", "fast"},
		{"top --once --interval 1ms", "--interval 1ms"},
		{"top --once --interval -1s", "--interval -1s"},
		{"top --once --interval 2h", "--interval 2h0m0s"},
		{"--mountpoint lxcfs check-lxcfs", `"lxcfs"`},
		{"--log-level loud check-lxcfs", `"loud"`},
		{"--log-format xml check-lxcfs", `"xml"`},
	} {
		r := engine.Run(t, "", shared.toolkit, strings.Fields(tt.args)...)
		if r.Code != 2 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, tt.want) {
			t.Errorf("lxcfs-toolkit %s: %+v, want exit code 2 and %q", tt.args, r, tt.want)
		}
	}
	if r := h.run(t, "", "--log", "/nowhere/log", "check-lxcfs"); r.Code != 1 || !strings.Contains(r.Stderr, "/nowhere/log") {
		t.Errorf("--log in a missing directory: %+v", r)
	}
	cmd := exec.Command(shared.toolkit, h.args("remount", "--all")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "only root") {
		t.Errorf("not as root: %v %s", err, out)
	}
}

// TestLogIsFIFO checks that the hook does not wait for a reader of a FIFO as its log.
func TestLogIsFIFO(t *testing.T) {
	h := newHost(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	const stopped = `{"ociVersion":"","id":"x","pid":-1,"root":"/x","bundle":"/x"}`
	for _, log := range []string{fifo, "/dev/stderr"} {
		r := h.run(t, stopped, "--log", log, "hook")
		isOneLine := strings.Count(r.Stderr, "\n") == 1
		if r.Code != 1 || !isOneLine || !strings.Contains(r.Stderr, "use --log: ") {
			t.Errorf("%s: %+v", log, r)
		}
	}
}

// TestBadHookInput checks that invalid input of the hook gives exit code 1 and one line, and mounts
// nothing.
func TestBadHookInput(t *testing.T) {
	h := newHost(t)
	h.start(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	before := hostMounts(t)
	for _, tt := range []struct{ name, stdin string }{
		{"empty", ""},
		{"garbage", "\x00\xff{{{"},
		{"not an object", "[1,2]"},
		{"half", `{"id":"x","pid":`},
		{"huge", `{"id":"` + strings.Repeat("x", 1<<20) + `"}`},
		{"no id", `{"pid":12,"bundle":"/"}`},
		{"pid 0", `{"id":"x","pid":0,"status":"creating","bundle":"/tmp"}`},
		{"pid 1", `{"id":"x","pid":1,"status":"creating","bundle":"/tmp"}`},
		{"pid negative", `{"id":"x","pid":-5,"status":"creating","bundle":"/tmp"}`},
		{"pid too large", `{"id":"x","pid":99999999,"status":"creating","bundle":"/tmp"}`},
		{"pid no number", `{"id":"x","pid":"12","status":"creating","bundle":"/tmp"}`},
		{"pid gone", fmt.Sprintf(`{"id":"x","pid":%d,"status":"creating","bundle":"/tmp"}`, gone.Process.Pid)},
		{"pid of the host", fmt.Sprintf(`{"id":"x","pid":%d,"status":"creating","bundle":"/tmp"}`, os.Getpid())},
		{"id with a path", `{"id":"../../x","pid":12,"status":"creating","bundle":"/tmp"}`},
	} {
		r := h.run(t, tt.stdin, "hook")
		if r.Code != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || len(r.Stderr) > 2048 {
			t.Errorf("%s: %.300q", tt.name, fmt.Sprintf("%+v", r))
		}
	}
	if r := h.run(t, `{"ociVersion":"","id":"x","pid":-1,"root":"/x","bundle":"/x"}`, "hook"); r.Code != 0 {
		t.Errorf("iSulad's poststop: %+v", r)
	}
	if after := hostMounts(t); after != before {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
	}
}

// TestSlowHookInput checks that the hook gives up if its stdin stays open.
func TestSlowHookInput(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(shared.toolkit, h.args("hook")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	started := time.Now()
	out, _ := cmd.CombinedOutput()
	if took := time.Since(started); took > 15*time.Second || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d after %v, want 1 within 15s: %s", cmd.ProcessState.ExitCode(), took, out)
	}
}

// TestHookInside checks that the hook fails at the stages inside the container, where it would see
// other pids.
func TestHookInside(t *testing.T) {
	h := newHost(t)
	h.start(t)
	before := hostMounts(t)
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, stage := range []string{"createContainer", "startContainer"} {
			t.Run(stage, func(t *testing.T) {
				o := ctr.Options{Runtime: runtime, Rootfs: shared.rootfs, Hooks: h.hook()}
				o.Hooks.CreateContainer, o.Hooks.CreateRuntime = o.Hooks.CreateRuntime, nil
				if stage == "startContainer" {
					o.Hooks.StartContainer, o.Hooks.CreateContainer = o.Hooks.CreateContainer, nil
					// The program must be in the container.
					program, err := os.ReadFile(shared.toolkit)
					if err == nil {
						err = os.WriteFile(filepath.Join(shared.rootfs, "bin/toolkit"), program, 0o755)
					}
					if err != nil {
						t.Fatal(err)
					}
					o.Hooks.StartContainer[0].Path = "/bin/toolkit"
					o.Hooks.StartContainer[0].Args = []string{"toolkit", "hook"}
				}
				c, err := ctr.Start(t.Context(), t.TempDir(), o)
				output := fmt.Sprint(err)
				if err == nil { // the runtime does not wait for this hook
					waitForEnd(t, c.PID)
					output = c.Log()
					if err := c.Remove(); err != nil {
						t.Error(err)
					}
				}
				if runtime == "runc" && !strings.Contains(output, "in the container's namespaces") {
					t.Errorf("the runtime does not show the reason: %s", output)
				}
			})
		}
	})
	if after := hostMounts(t); after != before {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
	}
}

// waitForEnd waits until a process has exited.
func waitForEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(text), ") Z ") {
			return
		}
	}
	t.Errorf("process %d still runs", pid)
}
