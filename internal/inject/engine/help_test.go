package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
)

// dockerID is the id of the containers in runc-state.json and docker-list.json.
const dockerID = "c64fc18de15508b72e121f91fd50e462229a27cd90a46e305d75b34a099532ee"

func fixture(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write writes a file, and creates its directory.
func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fifo creates a FIFO without a writer, and its directory.
func fifo(t *testing.T, file string) {
	t.Helper()
	write(t, file, "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, file string) bool {
	t.Helper()
	_, err := os.Lstat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// process is a process that runs until kill or the end of the test.
type process struct {
	cmd   *exec.Cmd
	pid   int
	start time.Duration
}

func start(t testing.TB) *process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid}
	t.Cleanup(p.end)
	var ok bool
	if p.start, ok = startOf("/proc", p.pid); !ok {
		t.Fatalf("process %d is not alive", p.pid)
	}
	return p
}

func (p *process) end() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// runc returns the state.json of its container, as runc writes it.
func (p *process) runc(t testing.TB, id string) string {
	return runcState(t, id, p.pid, p.start)
}

func runcState(t testing.TB, id string, pid int, start time.Duration) string {
	return strings.NewReplacer(dockerID, id, `"init_process_pid":82`, fmt.Sprintf(`"init_process_pid":%d`, pid),
		`"init_process_start":2401121`, fmt.Sprintf(`"init_process_start":%d`, start/procfs.ClockTick),
	).
		Replace(fixture(t, "runc-state.json"))
}

// crun returns the status of its container, as crun writes it.
func (p *process) crun(t *testing.T) string {
	return strings.NewReplacer(
		`"pid": 11607`, fmt.Sprintf(`"pid": %d`, p.pid), `"process-start-time": 2374606`,
		fmt.Sprintf(`"process-start-time": %d`, p.start/procfs.ClockTick),
	).Replace(fixture(t, "crun-status"))
}

// fakeProc stands for /proc.
type fakeProc string

func (f fakeProc) add(t testing.TB, pid int, start time.Duration) {
	t.Helper()
	text := fmt.Sprintf(
		"%d (init) S 1 1 1 0 -1 4194560 1094 0 0 0 3 5 0 0 20 0 1 0 %d 3145728 450 0 0\n", pid,
		start/procfs.ClockTick,
	)
	write(t, filepath.Join(string(f), strconv.Itoa(pid), "stat"), text)
}

func (f fakeProc) remove(t *testing.T, pid int) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(string(f), strconv.Itoa(pid))); err != nil {
		t.Fatal(err)
	}
}

// within fails the test if do takes longer than limit.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	started := time.Now()
	done := make(chan bool)
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(limit + 20*time.Second):
		t.Fatal("it waits")
	}
	if took := time.Since(started); took > limit {
		t.Errorf("it took %v, %v are allowed", took, limit)
	}
}
