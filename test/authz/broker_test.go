//go:build integration

package authz

import (
	"bufio"
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
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/test/engine"
)

// broker is a running authz-broker.
type broker struct {
	cmd                    *exec.Cmd
	done                   chan error
	dir                    string
	policy, docker, isulad string
	audit                  string
	log                    *output
	// kept reports whether the caller stops it, because cleanups of the test need it.
	kept bool
}

// output collects the output of a running program.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// prepare writes the policy file of a broker that has its sockets in a temporary directory.
func prepare(t *testing.T, policies string) *broker {
	t.Helper()
	dir := t.TempDir()
	b := &broker{
		dir: dir, policy: filepath.Join(dir, "policy.json"), docker: filepath.Join(dir, "run/docker.sock"),
		isulad: filepath.Join(dir, "run/isulad.sock"), audit: filepath.Join(dir, "audit"),
	}
	b.write(t, policies)
	return b
}

// args returns the options that set the paths, and more.
func (b *broker) args(more ...string) []string {
	return append([]string{"--policy-file", b.policy, "--docker-socket", b.docker, "--isulad-socket", b.isulad, "--audit", b.audit,
		"--pid-file", filepath.Join(b.dir, "pid")}, more...)
}

// start launches the broker, and waits until it accepts connections.
func (b *broker) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	b.launch(t, cmd)
	engine.WaitFor(t, "the broker to answer: "+b.log.String(), func() bool {
		select {
		case err := <-b.done:
			t.Fatalf("the broker exited: %v: %s", err, b.log)
		default:
		}
		return canDial(b.docker) && canDial(b.isulad)
	})
}

// launch starts the broker, with cmd unless it is nil.
func (b *broker) launch(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd == nil {
		cmd = exec.Command(shared.broker, b.args()...)
	}
	b.cmd, b.log, b.done = cmd, new(output), make(chan error, 1)
	b.cmd.Stderr = b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := b.done
	go func() {
		defer close(done)
		done <- cmd.Wait()
	}()
	if !b.kept {
		t.Cleanup(func() { b.kill(t) })
	}
}

func (b *broker) kill(t *testing.T) {
	if b.cmd == nil {
		return
	}
	b.cmd.Process.Kill()
	for range b.done { // it may have exited before
	}
	if t.Failed() {
		t.Logf("authz-broker: %s", b.log)
	}
}

func canDial(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// wait waits until the broker exits, and returns its exit code.
func (b *broker) wait(t *testing.T) int {
	t.Helper()
	select {
	case err := <-b.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return b.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		t.Fatalf("the broker does not exit: %s", b.log)
		return -1
	}
}

func (b *broker) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// write replaces the policy file.
func (b *broker) write(t *testing.T, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.policy), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.policy+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.policy+".new", b.policy); err != nil {
		t.Fatal(err)
	}
}

// replace replaces the policy file and waits until it is loaded.
func (b *broker) replace(t *testing.T, text string) {
	t.Helper()
	const loaded = "policies loaded"
	before := strings.Count(b.log.String(), loaded)
	b.write(t, text)
	engine.WaitFor(t, "policies to be loaded", func() bool { return strings.Count(b.log.String(), loaded) > before })
}

// isuladCode sends a request as iSulad does, byte for byte, and returns the status code and the
// whole response.
func isuladCode(t *testing.T, socket, body string) (code int, text string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c, "POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body); err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &kept)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q: got body %q, %v, want none", body, rest, err)
	}
	return response.StatusCode, kept.String()
}

// ask sends a request as dockerd does, and returns the body of the response.
func ask(t *testing.T, socket, body string) string {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	response, err := client.Post("http://plugin/AuthZPlugin.AuthZReq", "", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// record is a line of the audit log.
type record struct {
	Time, Engine, User, Method, URI, Action, Policy, Reason string
	AuthMethod                                              string `json:"auth_method"`
	Line                                                    int
	Allow                                                   bool
	DryRun                                                  bool   `json:"dry_run"`
	LatencyUS                                               *int64 `json:"latency_us"`
}

// records parses the complete lines of an audit log.
func records(t *testing.T, text string) (all []record) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r record
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

func (b *broker) records(t *testing.T) []record {
	t.Helper()
	text, err := os.ReadFile(b.audit)
	if err != nil {
		t.Fatal(err)
	}
	return records(t, string(text))
}
