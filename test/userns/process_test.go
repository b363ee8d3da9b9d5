//go:build integration

package userns

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// lockOf returns the lock file of a tree.
func lockOf(t *testing.T, root string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(shared.dir, "lock",
		fmt.Sprintf("%d-%d-%d.lock", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino))
}

// TestLock checks that a second process waits a limited time for the first one, and that a lock on
// the root directory, which a container can hold, has no effect.
func TestLock(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, small())
	own, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := unix.Flock(int(own.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	must(t, "shift", "--lock-timeout", "0", "--user-remap", remap, root)

	lock, err := os.Open(lockOf(t, root))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "unshift", "--lock-timeout", "0.05", root), 1,
		"is another userns-shift at work?", "stayed locked for 50ms")
	checkDump(t, "locked", takeDump(t, root, true), before)
	line := commandLine(t, "unshift", root)
	waiting := exec.Command(line[0], line[1:]...)
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the process to open the lock", func() bool {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", waiting.Process.Pid)) // the pattern is valid
		for _, fd := range fds {
			if target, _ := os.Readlink(fd); target == lock.Name() {
				return true
			}
		}
		return false
	})
	checkDump(t, "waiting", takeDump(t, root, true), before)
	lock.Close()
	if err := waiting.Wait(); err != nil {
		t.Fatal(err)
	}
	checkOwners(t, root, map[string]string{"plain": "7:7"})
}

// TestAtOnce checks that several concurrent processes shift a tree once.
func TestAtOnce(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, everything())
	want := filepath.Join(filepath.Dir(root), "want")
	build(t, want, true, shifted(everything()))
	var all [4]*exec.Cmd
	for i := range all {
		line := commandLine(t, "shift", "--user-remap", remap, root)
		all[i] = exec.Command(line[0], line[1:]...)
		if err := all[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	checkDump(t, "shifted", takeDump(t, root, false).withoutState(t, root), takeDump(t, want, false))
}

// buildMany builds a tree with enough files to interrupt a shift.
func buildMany(t *testing.T, root string) {
	t.Helper()
	build(t, root, true, []item{directory(".", 0o751, 0, 0)})
	for d := range 30 {
		items := []item{directory(fmt.Sprintf("d%d", d), 0o755, 0, 0),
			file(fmt.Sprintf("d%d/suid", d), 0o4755, 0, 0).with(capsName, caps2())}
		for n := range 1000 {
			items = append(items, node(fmt.Sprintf("d%d/%d", d, n), unix.S_IFREG, 0o644, n%7, 5, 0))
		}
		for _, i := range items {
			if i.attrs == nil && i.kind == unix.S_IFREG {
				if err := unix.Mknod(filepath.Join(root, i.path), i.kind|i.mode, 0); err != nil {
					t.Fatal(err)
				}
				continue
			}
			build(t, root, true, []item{i})
		}
	}
}

// TestSignal checks that SIGTERM and SIGINT end a shift with a message on how to resume it.
func TestSignal(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	buildMany(t, root)
	before := takeDump(t, root, false)
	for _, verb := range []string{"shift", "unshift"} {
		line := commandLine(t, verb, "--jobs", "1", "--user-remap", remap, "--progress", "json", root)
		interrupted := false
		for range 20 { // the shift may be too fast
			cmd := exec.Command(line[0], line[1:]...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the first change", func() bool {
				var st unix.Stat_t
				return unix.Stat(root, &st) == nil && st.Mode&0o7777 == 0o700 ||
					unix.Kill(cmd.Process.Pid, 0) != nil || hasEnded(cmd.Process.Pid)
			})
			cmd.Process.Signal(syscall.SIGTERM) // may have exited
			err := cmd.Wait()
			if err == nil {
				must(t, map[string]string{"shift": "unshift", "unshift": "shift"}[verb], "--user-remap", remap,
					root)
				continue
			}
			interrupted = true
			text := lastLine(stderr.String())
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(text, "interrupted") ||
				!strings.Contains(text, "run the same command again") {
				t.Errorf("%v, %q", err, text)
			}
			checkProgress(t, stderr.String())
			if r := call(t, "status", root); r.code != 3 {
				t.Errorf("status: %+v", r)
			}
			break
		}
		if !interrupted {
			t.Errorf("%s was never interrupted", verb)
		}
		must(t, verb, "--user-remap", remap, root)
	}
	checkDump(t, "shifted back", takeDump(t, root, false), before)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// checkProgress checks that all lines but the last are progress.
func checkProgress(t *testing.T, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) < 2 {
		t.Errorf("no progress: %q", text)
	}
	for _, line := range lines[:len(lines)-1] {
		var p struct {
			Pass        string
			Done, Total uint64
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.Pass == "" {
			t.Errorf("progress %q: %v", line, err)
		}
	}
}

func hasEnded(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(text, []byte(") Z "))
}

// TestPrivileges checks that nothing is changed without CAP_SYS_ADMIN or in a user namespace.
func TestPrivileges(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, small())
	before := takeDump(t, root, true)
	for _, command := range [][]string{{"shift", "--user-remap", remap},
		{"unshift", "--user-remap", remap}, {"status"}, {"verify"}} {
		line := role("unprivileged", commandLine(t, plus(command, root)...)...)
		checkRefused(t, runProgram(t, line[0], line[1:]...), 1, "missing capabilities: CAP_SYS_ADMIN",
			"run it as root")
		inside := commandLine(t, plus(command, root)...)
		cmd := exec.Command(inside[0], inside[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 65536}},
			GidMappings: []syscall.SysProcIDMap{{Size: 65536}},
		}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "this process is in a user namespace") {
			t.Errorf("%q in a user namespace: %v, %s", command, err, out)
		}
	}
	checkDump(t, "refused", takeDump(t, root, true), before)
}

// TestSubordinateIDs checks that /etc/subuid and /etc/subgid are not written.
func TestSubordinateIDs(t *testing.T) {
	look := func() (text string) {
		for _, name := range []string{"/etc/subuid", "/etc/subgid"} {
			var st unix.Stat_t
			err := unix.Stat(name, &st)
			text += fmt.Sprint(err, st.Ino, st.Mtim, st.Ctim, st.Size)
		}
		return text
	}
	before := look()
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, small())
	shiftTree(t, root)
	must(t, "unshift", root)
	if after := look(); after != before {
		t.Errorf("got %s, want %s", after, before)
	}
}

// TestStderrClosed checks that a shift continues after stderr is closed.
func TestStderrClosed(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, small())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	line := commandLine(t, "shift", "--progress", "json", "--user-remap", remap, root)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stderr = w
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	must(t, "verify", root)
}
