// Package engine starts container engines and programs for tests.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// Need fails the test unless the programs of an engine are installed, and skips it in the virtual
// machine, which has no engines.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getenv("PALISADE_VM") != "" {
		t.Skip("the virtual machine has no engines")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v (make deps installs it)", err)
		}
	}
}

// BuiltDir returns the directory of the engines that "make dockerd" and "make cri" build.
func BuiltDir(ctx context.Context) (string, error) {
	if dir := os.Getenv("PALISADE_ENGINES"); dir != "" {
		return dir, nil
	}
	cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's build cache: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(cache)), "palisade-engines"), nil
}

// OwnLib mounts an empty /var/lib, where engines keep their state, until the test ends.
func OwnLib(t testing.TB) {
	t.Helper()
	if err := syscall.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount("/var/lib", syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// OwnCopy mounts an overlay on a directory, so that changes in it end with the test.
func OwnCopy(t testing.TB, directory string) {
	t.Helper()
	changes := t.TempDir()
	mount := func(source, target, fstype, data string) {
		t.Helper()
		if err := syscall.Mount(source, target, fstype, 0, data); err != nil {
			t.Fatalf("mount %s on %s: %v", fstype, target, err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	mount("tmpfs", changes, "tmpfs", "mode=755")
	upper, work := filepath.Join(changes, "upper"), filepath.Join(changes, "work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount("overlay", directory, "overlay", "lowerdir="+directory+",upperdir="+upper+",workdir="+work)
}

// ParentCgroup returns a cgroup path for an engine's containers, which is removed after the test.
func ParentCgroup(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("palisade-engine-%d-%d", os.Getppid(), time.Now().UnixNano())
	t.Cleanup(func() {
		groups, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
		if err != nil {
			t.Error(err)
		}
		groups = append(groups, "/sys/fs/cgroup/"+name) // of v2
		if err := ctr.RemoveCgroups(groups...); err != nil {
			t.Error(err)
		}
	})
	return "/" + name
}

// Start starts a daemon that is stopped after the test, and returns its process.
func Start(t testing.TB, dir, program string, args ...string) *os.Process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // for the message only
			t.Logf("%s: %s", program, text[max(0, len(text)-4000):])
		}
	})
	return cmd.Process
}

// FreePort returns an unused port of the loopback address.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Bound returns a timeout, or a longer one in the virtual machine, whose CPU is emulated.
func Bound(timeout time.Duration) time.Duration {
	if os.Getenv("PALISADE_VM") != "" {
		return 6 * timeout
	}
	return timeout
}

// WaitFor polls a condition, and fails the test with its description after a timeout.
func WaitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Bound(30 * time.Second)); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

// Docker is a client of dockerd's API.
type Docker struct{ client *http.Client }

func NewDocker(socket string) Docker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return Docker{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}
}

func (d Docker) Call(method, path string, body io.Reader) (string, error) {
	request, err := http.NewRequest(method, "http://docker"+path, body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := d.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return string(text), err
}

func (d Docker) Must(t testing.TB, method, path string, body any) string {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := d.Call(method, path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Ran is the result of a program.
type Ran struct {
	Stdout, Stderr string
	Code           int
}

// logTime matches the time before runc's messages.
var logTime = regexp.MustCompile(`(?m)^time="[^"]*" `)

// Undated returns the result without the times in runc's messages, to compare two runs.
func (r Ran) Undated() Ran {
	r.Stderr = logTime.ReplaceAllLiteralString(r.Stderr, "")
	return r
}

// Run runs a program, for a minute at most (Bound), and returns its result.
func Run(t testing.TB, stdin, program string, args ...string) Ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Bound(time.Minute))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v %v", program, args, err, ctx.Err())
	}
	return Ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}
