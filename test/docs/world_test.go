//go:build integration

package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// world is a machine that is thrown away, under a systemd of its own, in which blocks are executed.
type world struct {
	dir    string // /run/session inside
	blocks int
}

// newWorld prepares one. It has files of the packages where layer has them.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: filepath.Join(t.TempDir(), "session")}
	if err := os.MkdirAll(filepath.Join(w.dir, "blocks"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"session.sh", "lib.sh", "isula", "isulad"} {
		w.write(t, name, read(t, filepath.Join("testdata", name)))
	}
	repository, err := filepath.Abs(Repository)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "repository", repository)
	environment, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "go", string(environment))
	if out, err := exec.Command("tar", "-C", shared.rootfs, "-cf", filepath.Join(w.dir, "rootfs.tar"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return w
}

// add adds a script, and returns its number.
func (w *world) add(t *testing.T, script string) (number int) {
	t.Helper()
	w.blocks++
	w.write(t, fmt.Sprintf("blocks/%03d.sh", w.blocks), script)
	return w.blocks
}

// output is what a block has printed.
func (w *world) output(number int) string {
	text, _ := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("blocks/%03d.out", number))) // there is none where it was not reached
	return string(text)
}

// run starts it, waits until all is executed, and ends it. It returns the number of the block that failed, or 0.
func (w *world) run(t *testing.T, layer string, timeout time.Duration) (failed int) {
	t.Helper()
	base := filepath.Join(filepath.Dir(w.dir), "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	boot, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--mount", "--ipc", "--uts", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", engine.EnterCgroups, "sh"}, ownCgroups(t)...)
	cmd := exec.Command("unshare", append(args, "--", "bash", boot, base, layer, w.dir)...)
	var log ctr.LockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }() // it is killed
	defer func() {
		cmd.Process.Kill()
		<-ended
	}()
	over := false
	for deadline := time.Now().Add(timeout); !over && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		over = ctr.IsClosed(ended) // what it has written is there by now
		code, err := os.ReadFile(filepath.Join(w.dir, "done"))
		if err != nil {
			continue
		}
		if string(code) == "0\n" {
			return 0
		}
		break
	}
	current, err := os.ReadFile(filepath.Join(w.dir, "current"))
	if err != nil {
		t.Fatalf("the world does not come up: %s", log.String())
	}
	if failed, err = strconv.Atoi(strings.TrimLeft(strings.TrimSpace(string(current)), "0")); err != nil {
		t.Fatal(err)
	}
	return failed
}

// ownCgroups makes a cgroup in each hierarchy, which ends with the test.
func ownCgroups(t *testing.T) (dirs []string) {
	t.Helper()
	dirs = engine.MakeCgroups(t, "palisade-docs")
	t.Cleanup(func() {
		for _, dir := range dirs {
			engine.WaitFor(t, dir+" is empty", func() bool { engine.RemoveCgroups(dir); _, err := os.Stat(dir); return err != nil })
		}
	})
	return dirs
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
