package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// isula writes a script that stands for iSulad's client.
func (h *host) isula(script string) {
	h.t.Helper()
	h.write("isula", "#!/bin/sh\n"+script)
	if err := os.Chmod(h.Isula, 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func TestIsula(t *testing.T) {
	h := newHost(t)
	const (
		lcrID  = "6be3c4fd2c1f4fb1a1b0d3d9f5e1d3f0a6a9c1d7e8b2c4f6a8d0e2f4b6c8d0e2"
		runcID = "d4a1f7c2b3e5968707a6b5c4d3e2f1a09f8e7d6c5b4a39281706f5e4d3c2b1a0"
	)
	lcr, runc := start(t), start(t)
	h.write("run/isulad/runc/"+runcID+"/state.json", runc.runc(t, runcID))
	h.write(
		"ps.txt",
		strings.NewReplacer("17097", strconv.Itoa(lcr.pid), "17815", strconv.Itoa(runc.pid)).
			Replace(fixture(t, "isula-ps.txt")),
	)
	h.isula(`[ "$*" = "ps --no-trunc --format {{.ID}} {{.Pid}} {{.Names}}" ] || exit 2
cat ` + h.path("ps.txt"))
	h.check([]Container{
		{ID: lcrID, Names: []string{"web"}, Engine: "isulad", PID: lcr.pid},
		{ID: runcID, Names: []string{"system-1"}, Engine: "isulad", PID: runc.pid},
	})
}

func TestIsulaFails(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   []string
	}{
		"with a message": {"echo 'Can not connect with server.' >&2\necho Is the iSulad daemon running? >&2\nexit 1",
			[]string{"isulad: isula ps: exit status 1: Can not connect with server."}},
		"silently":         {"exit 125", []string{"isulad: isula ps: exit status 125: "}},
		"after some lines": {"echo a 1 b\necho lost connection >&2\nexit 1", []string{"isulad: isula ps: exit status 1: lost connection"}},
		"by a signal":      {"kill -SEGV $$", []string{"isulad: isula ps: signal: segmentation fault"}},
		"with rubbish":     {"echo Error: no such option", []string{"isulad: isula ps: ", "want three columns"}},
		"a long message":   {"printf '%0900d' 0 >&2\nexit 1", []string{"isulad: isula ps: exit status 1: 000"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			p := start(t)
			h.write("run/isulad/runc/a/state.json", p.runc(t, "a"))
			h.isula(tt.script)
			h.check([]Container{{ID: "a", Engine: "runc", PID: p.pid}}, tt.want)
		})
	}
}

// TestIsulaMessage reports an error in one line.
func TestIsulaMessage(t *testing.T) {
	h := newHost(t)
	h.isula("printf '%0900d' 0 >&2\necho second line >&2\nexit 1")
	_, err := findIsula(t.Context(), h.Isula)
	if err == nil || len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one short line", err)
	}
}

// TestIsulaHangs ends a client that waits without end. Processes that it has started may continue,
// and keep its output open.
func TestIsulaHangs(t *testing.T) {
	for name, tt := range map[string]struct {
		script string // writes the pid of the process that hangs
		goesOn bool
	}{
		"itself":           {"echo $$ >PID\nexec sleep 1000", false},
		"after a while":    {"echo $$ >PID\necho a 1 b\nexec sleep 1000", false},
		"its child":        {"sleep 1000 &\necho $! >PID\nwait", true},
		"its child, alone": {"sleep 1000 &\necho $! >PID\necho a 1 b", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.Timeout = time.Second
			p := start(t)
			h.write("run/isulad/runc/a/state.json", p.runc(t, "a"))
			h.isula(strings.ReplaceAll(tt.script, "PID", h.path("pid")))
			h.check([]Container{{ID: "a", Engine: "runc", PID: p.pid}}, []string{"isulad: isula ps: "})
			text, err := os.ReadFile(h.path("pid"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if tt.goesOn {
				syscall.Kill(pid, syscall.SIGKILL)
			} else if _, ok := startOf("/proc", pid); ok {
				t.Errorf("the client, %d, still runs", pid)
			}
		})
	}
}

// TestIsulaIsNoProgram ignores a file that is not executable.
func TestIsulaIsNoProgram(t *testing.T) {
	h := newHost(t)
	h.write("isula", "hello")
	h.check(nil)
	if err := os.Remove(h.Isula); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.Isula, 0o755); err != nil {
		t.Fatal(err)
	}
	h.check(nil)
	h.Isula = fmt.Sprintf("isula-%d", os.Getpid()) // not on the PATH
	h.check(nil)
}
