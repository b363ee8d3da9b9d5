//go:build integration

package authz

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/engine"
)

const everything = `{"name":"all","users":[""],"actions":[""]}`

// info is dockerd's request for docker info of alice.
const info = `{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/v1.41/info"}`

// TestDefaults runs the broker without options, as its unit does.
func TestDefaults(t *testing.T) {
	engine.OwnLib(t)
	b := &broker{
		policy: "/var/lib/authz-broker/policy.json", docker: "/run/docker/plugins/authz-broker.sock", isulad: "/run/isulad/plugins/authz-broker.sock",
	}
	b.write(t, everything)
	cmd := exec.Command(shared.broker)
	var audit output
	cmd.Stdout = &audit
	b.start(t, cmd)
	for _, socket := range []string{b.docker, b.isulad} {
		stat, err := os.Stat(socket)
		if err != nil {
			t.Fatal(err)
		}
		owner := stat.Sys().(*syscall.Stat_t)
		if stat.Mode() != os.ModeSocket|0o660 || owner.Uid != 0 || owner.Gid != 0 {
			t.Errorf("%s: %v, owner %d:%d", socket, stat.Mode(), owner.Uid, owner.Gid)
		}
	}
	if pid, err := os.ReadFile("/run/authz.pid"); err != nil || string(pid) != fmt.Sprintln(b.cmd.Process.Pid) {
		t.Errorf("got pid file %q, %v, want %d", pid, err, b.cmd.Process.Pid)
	}
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	if code, _ := isuladCode(t, b.isulad, "alice:container_list"); code != 200 {
		t.Error(code)
	}
	b.signal(t, syscall.SIGTERM)
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := records(t, audit.String())
	if len(all) != 2 || all[0].Engine != "docker" || all[0].User != "alice" || all[0].AuthMethod != "TLS" || all[0].URI != "/v1.41/info" ||
		all[0].Action != "docker_info" || all[0].Policy != "all" || all[0].Line != 1 || !all[0].Allow || all[0].LatencyUS == nil ||
		all[1].Engine != "isulad" || all[1].Action != "container_list" {
		t.Errorf("got audit records %+v", all)
	}
	for _, path := range []string{b.docker, b.isulad, "/run/authz.pid"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s still exists", path)
		}
	}
}

// TestOldEnvironment runs the broker with the environment variables of older versions.
func TestOldEnvironment(t *testing.T) {
	b := prepare(t, everything)
	cmd := exec.Command(shared.broker, b.args()[2:]...)
	cmd.Env = append(os.Environ(), "AUTHZ-POLICY-FILE="+b.policy, "DEBUG=true")
	b.start(t, cmd)
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	cmd = exec.Command(shared.broker, b.args()...)
	cmd.Env = append(os.Environ(), "DEBUG=perhaps")
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), `"perhaps"`) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSecondBroker checks that a second broker does not replace a running one, but a killed one.
func TestSecondBroker(t *testing.T) {
	b := prepare(t, everything)
	b.start(t, nil)
	second := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("timeout", append([]string{"20", shared.broker}, args...)...).CombinedOutput()
		if err == nil || strings.Count(string(out), "\n") != 1 {
			t.Errorf("a second broker: %v: %s", err, out)
		}
		return string(out)
	}
	if out := second(b.args()...); !strings.Contains(out, fmt.Sprintf("process %d holds", b.cmd.Process.Pid)) {
		t.Error(out)
	}
	if out := second(b.args("--pid-file", "")...); !strings.Contains(out, "another process listens to "+b.dir) {
		t.Error(out)
	}
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	b.signal(t, syscall.SIGKILL)
	b.wait(t)
	b.start(t, nil)
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	b.signal(t, syscall.SIGINT)
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestBrokenPolicies checks that the broker does not start with invalid policies.
func TestBrokenPolicies(t *testing.T) {
	for text, want := range map[string]string{
		everything + "\n" + `{"users":[]}`: "policy.json:2: the policy has no clients",
		"x":                                "policy.json:1: ",
	} {
		b := prepare(t, text)
		b.launch(t, nil)
		if code := b.wait(t); code != 1 || !strings.Contains(b.log.String(), want) || canDial(b.docker) {
			t.Errorf("exit code %d: %s", code, b.log)
		}
	}
}

// TestStop checks that a stopping broker answers a request of which it has received a part.
func TestStop(t *testing.T) {
	for range 5 {
		if stopBetween(t) {
			return
		}
	}
	t.Error("the rest of the request was late five times")
}

// stopBetween stops a broker between the two parts of requests, and reports whether the second
// arrived in time.
func stopBetween(t *testing.T) (inTime bool) {
	b := prepare(t, everything)
	b.start(t, nil)
	var waiting []net.Conn
	for _, socket := range []string{b.docker, b.docker, b.isulad} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		waiting = append(waiting, c)
	}
	fmt.Fprintf(waiting[0], "POST /AuthZPlugin.AuthZReq HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(info), info[:20])
	fmt.Fprint(waiting[2], "POST /isulad.auth HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nalice")
	time.Sleep(100 * time.Millisecond) // until the headers have been read
	b.signal(t, syscall.SIGTERM)
	time.Sleep(100 * time.Millisecond)
	io.WriteString(waiting[0], info[20:])
	io.WriteString(waiting[2], ":pull")
	inTime = true
	for i, want := range []string{`{"Allow":true}`, "", "HTTP/1.1 200 OK"} {
		text, err := io.ReadAll(waiting[i])
		if strings.Contains(string(text), "did not arrive") {
			inTime = false
		} else if !strings.Contains(string(text), want) {
			t.Errorf("%d: %q, %v", i, text, err)
		}
	}
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	return inTime
}

// TestHangup checks that SIGHUP loads the policies and opens the audit file again.
func TestHangup(t *testing.T) {
	b := prepare(t, everything)
	b.start(t, nil)
	isuladCode(t, b.isulad, "alice:pull")
	engine.WaitFor(t, "an audit record", func() bool { return len(b.records(t)) == 1 })
	if err := os.Rename(b.audit, b.audit+".1"); err != nil {
		t.Fatal(err)
	}
	b.signal(t, syscall.SIGHUP)
	engine.WaitFor(t, "a new audit file", func() bool { _, err := os.Stat(b.audit); return err == nil })
	isuladCode(t, b.isulad, "alice:login")
	engine.WaitFor(t, "an audit record", func() bool {
		all := b.records(t)
		return len(all) == 1 && all[0].Action == "login"
	})
	// An invalid policy file leaves the loaded policies in force.
	b.write(t, everything+"\n}")
	b.signal(t, syscall.SIGHUP)
	engine.WaitFor(t, "a logged error", func() bool { return strings.Contains(b.log.String(), b.policy+":2: a policy is a JSON object") })
	if code, _ := isuladCode(t, b.isulad, "alice:pull"); code != 200 {
		t.Error(code)
	}
}

func TestDryRun(t *testing.T) {
	b := prepare(t, `{"name":"p","users":["alice"],"actions":["pull"]}`)
	b.start(t, exec.Command(shared.broker, b.args("--dry-run")...))
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	if code, _ := isuladCode(t, b.isulad, "bob:pull"); code != 200 {
		t.Error(code)
	}
	engine.WaitFor(t, "two audit records", func() bool { return len(b.records(t)) == 2 })
	for _, r := range b.records(t) {
		if r.Allow || !r.DryRun || r.Reason == "" {
			t.Errorf("%+v", r)
		}
	}
}

// TestIdleConnections checks that the broker answers beside ten thousand idle connections, half of
// which have sent a request.
func TestIdleConnections(t *testing.T) {
	b := prepare(t, everything)
	b.start(t, nil)
	const n = 10000
	answer := make([]byte, 4096)
	for i := range n {
		c, err := net.Dial("unix", b.docker)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		if i%2 == 0 {
			continue
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(c, "POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Read(answer); err != nil || !strings.Contains(string(answer[:m]), `{"Implements":["authz"]}`) {
			t.Fatalf("connection %d: %q, %v", i, answer[:m], err)
		}
	}
	for range 100 {
		started := time.Now()
		if text := ask(t, b.docker, info); text != `{"Allow":true}` {
			t.Fatal(text)
		}
		if code, _ := isuladCode(t, b.isulad, "alice:pull"); code != 200 {
			t.Fatal(code)
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("two answers took %v, want at most 10s", took)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") {
			t.Logf("with %d connections: %s", n, line)
		}
	}
	b.signal(t, syscall.SIGTERM)
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestIsuladsBytes checks that iSulad gets a status code, and no body to print into its log.
func TestIsuladsBytes(t *testing.T) {
	b := prepare(t, `{"name":"p","users":["alice","a:b"],"actions":["container"],"readonly":true}`)
	b.start(t, nil)
	for body, want := range map[string]string{
		"alice:container_list":    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a:b:container_list":      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"alice:container_archive": "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"alice:image_list":        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"bob:container_list":      "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
	} {
		if _, text := isuladCode(t, b.isulad, body); text != want {
			t.Errorf("%s: %q, want %q", body, text, want)
		}
	}
}
