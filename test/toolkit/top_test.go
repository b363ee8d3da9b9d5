//go:build integration

package toolkit

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// shownContainer is a container in the output of top --json.
type shownContainer struct {
	ID           string
	PID          int
	CPUPercent   *float64 `json:"cpu_percent"`
	CPUs         *int
	MemoryUsed   *uint64 `json:"memory_used_bytes"`
	MemoryTotal  *uint64 `json:"memory_total_bytes"`
	SwapTotal    *uint64 `json:"swap_total_bytes"`
	Load         []float64
	Tasks        *int
	TasksRunning *int     `json:"tasks_running"`
	Uptime       *float64 `json:"uptime_seconds"`
}

// top runs top --once --json.
func (h *host) top(t *testing.T, args ...string) []shownContainer {
	t.Helper()
	var shown struct{ Containers []shownContainer }
	r := h.mustPalisade(t, append([]string{"top", "--once", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &shown); err != nil || r.Stderr != "" {
		t.Fatalf("%v: %+v", err, r)
	}
	return shown.Containers
}

// busy starts an idle and a busy container.
func (h *host) busy(t *testing.T) (idle, busy *ctr.Container) {
	t.Helper()
	idle = h.container(t, ctr.Options{Memory: 64 * mib, CPUs: "0"})
	busy = h.container(t, ctr.Options{Runtime: "crun", Memory: 128 * mib, Quota: 50000, Args: []string{"/bin/sh", "-c", "while true; do true; done"}})
	return idle, busy
}

// topOf runs top, and returns how many percent of a CPU the container has used meanwhile: at most half
// a CPU, and on a busy machine less.
func (h *host) topOf(t *testing.T, c *ctr.Container) (shown []shownContainer, used float64) {
	t.Helper()
	start, before := time.Now(), c.CPUTime(t)
	shown = h.top(t)
	used = 100 * (c.CPUTime(t) - before).Seconds() / time.Since(start).Seconds()
	if used < 2 {
		t.Errorf("the busy container has used %.1f %% of a CPU, want at least 2", used)
	}
	return shown, used
}

// TestTopOnce checks the values in the JSON, the table and its order.
func TestTopOnce(t *testing.T) {
	h := newHost(t)
	h.start(t)
	idle, busy := h.busy(t)
	shown, used := h.topOf(t, busy)
	if len(shown) != 2 || shown[0].PID != busy.PID || shown[1].PID != idle.PID {
		t.Fatalf("got %+v, want processes %d and %d", shown, busy.PID, idle.PID)
	}
	for i, want := range []struct {
		id                 string
		percent, deviation float64
		memory             uint64
	}{{busy.ID, used, 15, 128 * mib}, {idle.ID, 0, 5, 64 * mib}} {
		c := shown[i]
		if c.ID != want.id || c.CPUPercent == nil || c.CPUs == nil || c.MemoryUsed == nil || c.MemoryTotal == nil || c.SwapTotal == nil ||
			len(c.Load) != 3 || c.Tasks == nil || c.TasksRunning == nil || c.Uptime == nil {
			t.Fatalf("missing values: %+v", c)
		}
		if *c.CPUPercent < want.percent-want.deviation || *c.CPUPercent > want.percent+want.deviation {
			t.Errorf("%s: got %v%% CPU, want about %v", want.id, *c.CPUPercent, want.percent)
		}
		if *c.MemoryTotal != want.memory || *c.MemoryUsed > want.memory/2 || *c.CPUs != 1 || *c.Tasks != 1 || *c.Uptime <= 0 || *c.Uptime > 300 {
			t.Errorf("%s: got %d of %d bytes, %d CPUs, %d tasks, %v s", want.id, *c.MemoryUsed, *c.MemoryTotal, *c.CPUs, *c.Tasks, *c.Uptime)
		}
	}
	table := h.mustPalisade(t, "top", "--once", "--interval", "200ms", "--sort", "name")
	lines := strings.Split(strings.TrimSuffix(table.Stdout, "\n"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "CONTAINER") || table.Stderr != "" {
		t.Fatalf("%+v", table)
	}
	words := len(strings.Fields(lines[0]))
	for _, line := range lines {
		if len(strings.Fields(line)) != words {
			t.Errorf("%q does not have %d words", line, words)
		}
	}
	for _, want := range []string{idle.ID + ` .* 64\.0M `, busy.ID + ` .* 128M `} {
		if !regexp.MustCompile(want).MatchString(table.Stdout) {
			t.Errorf("no %s in\n%s", want, table.Stdout)
		}
	}
	for by, first := range map[string]*ctr.Container{"memory": nil, "load": nil, "cpu": busy} {
		out := h.mustPalisade(t, "top", "--once", "--interval", "500ms", "--sort", by).Stdout
		if first != nil && !strings.HasPrefix(strings.Split(out, "\n")[1], first.ID) {
			t.Errorf("--sort %s: %s", by, out)
		}
	}
}

// TestTopWithoutFigures checks that without lxcfs, or with one that is dead or hangs, top shows
// containers without values, and the reason in one line.
func TestTopWithoutFigures(t *testing.T) {
	h := newHost(t)
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	check := func(want string) {
		t.Helper()
		started := time.Now()
		r := h.palisade(t, "top", "--once", "--interval", "100ms")
		if took := time.Since(started); took > 30*time.Second {
			t.Errorf("top took %v, want at most 30s", took)
		}
		if r.Code != 1 || !regexp.MustCompile(regexp.QuoteMeta(c.ID)+`( +-){9} `).MatchString(r.Stdout) ||
			strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%+v, want exit code 1 and %q", r, want)
		}
	}
	check("is not mounted")
	h.start(t)
	if shown := h.top(t); len(shown) != 1 || shown[0].MemoryTotal == nil || *shown[0].MemoryTotal != 64*mib {
		t.Errorf("%+v", shown)
	}
	if err := h.daemon.Freeze(); err != nil {
		t.Fatal(err)
	}
	check("does not answer")
	if err := h.daemon.Thaw(); err != nil {
		t.Fatal(err)
	}
	engine.WaitFor(t, "values", func() bool { return h.palisade(t, "top", "--once").Code == 0 })
	if shown := h.top(t); shown[0].MemoryTotal == nil {
		t.Errorf("%+v", shown)
	}
	h.kill(t)
	check("is dead")
	unmount(t, h.mountpoint)
}

// TestTopMany checks top with 50 containers.
func TestTopMany(t *testing.T) {
	h := newHost(t)
	h.start(t)
	all := h.namespaces(t, 50)
	started := time.Now()
	shown := h.top(t, "--interval", "100ms")
	took := time.Since(started)
	if t.Logf("top took %v", took); took > 30*time.Second {
		t.Errorf("top took %v, want at most 30s", took)
	}
	if len(shown) != len(all) {
		t.Fatalf("got %d containers, want %d", len(shown), len(all))
	}
	for _, c := range shown {
		if c.CPUPercent == nil || c.MemoryTotal == nil || c.Uptime == nil || c.Tasks == nil {
			t.Errorf("missing values: %+v", c)
		}
	}
}

// terminal is a tmux with a program.
type terminal struct{ socket string }

func newTerminal(t *testing.T, command ...string) *terminal {
	t.Helper()
	engine.Need(t, "tmux")
	term := &terminal{filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { term.run("kill-server") }) // may have exited
	term.must(t, append([]string{"new-session", "-d", "-x", "100", "-y", "20"}, command...)...)
	return term
}

func (term *terminal) run(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", term.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (term *terminal) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := term.run(args...)
	if err != nil {
		t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return out
}

// shows waits until a pattern matches the screen.
func (term *terminal) shows(t *testing.T, pattern string) {
	t.Helper()
	var screen string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if screen = term.must(t, "capture-pane", "-p"); regexp.MustCompile(pattern).MatchString(screen) {
			return
		}
	}
	t.Fatalf("timed out waiting for: %s in\n%s", pattern, screen)
}

// TestTop checks top in a terminal.
func TestTop(t *testing.T) {
	h := newHost(t)
	h.start(t)
	idle, busy := h.busy(t)
	h.hostileContainer(t)
	stderr := filepath.Join(h.dir, "stderr")
	script := `"$@" 2>` + stderr + `; echo "exit code $?, $(stty -a | grep -c -- ' -echo ') without echo"; read -r line`
	term := newTerminal(t, append([]string{"sh", "-c", script, "sh", shared.palisade}, h.args("top", "--interval", "300ms")...)...)
	row := func(c *ctr.Container, size string) string {
		return c.ID[:19] + `\S* +- +[0-9.]+ +1 +[0-9.]+[KM] +` + size
	}
	term.shows(t, `containers: 3 +every 300ms +sorted by cpu\n\nCONTAINER(?s).*\n`+row(busy, "128M")+`.*`+row(idle, `64\.0M`))
	term.shows(t, `"evil\\x1b\[2J\\x1b\]`)
	term.must(t, "send-keys", "n")
	term.shows(t, `sorted by name`)
	term.must(t, "send-keys", "Right")
	term.shows(t, `sorted by cpu`)
	term.must(t, "send-keys", "Left", "Left")
	term.shows(t, `sorted by load`)
	term.must(t, "send-keys", "m")
	term.shows(t, `sorted by memory`)
	term.must(t, "resize-window", "-x", "60", "-y", "5")
	term.shows(t, `^containers: 3.*\n.*\nCONTAINER.*\n.*\nq quit[^\n]*\n$`)
	first := term.must(t, "capture-pane", "-p")
	term.must(t, "send-keys", "Down")
	engine.WaitFor(t, "the next row", func() bool {
		return strings.Split(term.must(t, "capture-pane", "-p"), "\n")[3][:20] != strings.Split(first, "\n")[3][:20]
	})
	term.must(t, "resize-window", "-x", "150", "-y", "30")
	term.shows(t, `PID +ENGINE *\n`)
	if err := h.daemon.Freeze(); err != nil {
		t.Fatal(err)
	}
	term.shows(t, `\n(.*)does not answer in time\n`)
	term.shows(t, regexp.QuoteMeta(idle.ID[:19])+`\S* +- +- +- +- `)
	term.must(t, "send-keys", "n")
	term.shows(t, `sorted by name`)
	if err := h.daemon.Thaw(); err != nil {
		t.Fatal(err)
	}
	term.shows(t, row(idle, `64\.0M`))
	term.must(t, "send-keys", "q")
	term.shows(t, `exit code 0, 0 without echo`)
	if text, err := os.ReadFile(stderr); err != nil || len(text) > 0 {
		t.Errorf("got stderr %q, %v, want none", text, err)
	}
	if leftBehind := processWith(t, shared.palisade+"\x00"+strings.Join(h.args("top", "--interval", "300ms"), "\x00")+"\x00"); len(leftBehind) > 0 {
		t.Errorf("processes %v remain", leftBehind)
	}
}

// hostileContainer creates a container of no engine, which is named by its cgroup, with control
// characters in the name.
func (h *host) hostileContainer(t *testing.T) {
	t.Helper()
	cgroup := filepath.Join(firstHierarchy(t), "evil\x1b[2J\x1b]0;title\a \u202e")
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the process has exited
		if err := os.Remove(cgroup); err != nil {
			t.Error(err)
		}
	})
	c := h.namespaces(t, 1)[0]
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // a new cpuset of v1 has none
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(cgroup), name)); err == nil {
			os.WriteFile(filepath.Join(cgroup, name), text, 0) // may fail on v2, which does not need it
		}
	}
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(c.PID)), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "run/containers")); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"list"}, {"top", "--once", "--interval", "100ms"}, {"remount", "--all"}} {
		r := h.run(t, "", command...)
		if !strings.Contains(r.Stdout, `"evil\x1b[2J\x1b]`) || strings.ContainsAny(r.Stdout+r.Stderr, "\x1b\a\u202e") {
			t.Errorf("%v: %q, %q", command, r.Stdout, r.Stderr)
		}
	}
}

// firstHierarchy returns the root of the hierarchy in the first line of /proc/PID/cgroup.
func firstHierarchy(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.SplitN(string(text), ":", 3)
	if len(fields) < 3 {
		t.Fatalf("parse /proc/self/cgroup: %q", text)
	}
	return filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(fields[1], "name="))
}
