//go:build integration

package authz

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/engine"
)

// python is Debian's, which has the modules of Debian's packages.
const python = "/usr/bin/python3"

// startIsulad starts a gRPC server that behaves like iSulad's, and returns its socket and log.
func startIsulad(t *testing.T) (socket string, log *output, kill func()) {
	t.Helper()
	if exec.Command(python, "-c", "import grpc").Run() != nil {
		t.Fatal("python3-grpcio is missing (make deps installs it)")
	}
	dir, err := os.MkdirTemp("/run", "isulad-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, log = filepath.Join(dir, "isulad.sock"), new(output)
	cmd := exec.Command(python, "testdata/isulad_server.py", socket)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	engine.WaitFor(t, "the server to listen", func() bool { return canDial(socket) })
	return socket, log, kill
}

// callIsulad calls all kinds of methods, and returns the results.
func callIsulad(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"testdata/isulad_client.py"}, args...)
	out, err := exec.Command(python, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v, %s", args, err, out)
	}
	return string(out)
}

// TestFrontIsulad calls a server with iSulad's gRPC library through a front, as four clients.
func TestFrontIsulad(t *testing.T) {
	socket, log, _ := startIsulad(t)
	f := startFront(t, "isulad", socket, `{"name":"all","unix_users":["root"],"actions":[""]}
{"users":["alice","ci"],"actions":["container","docker_"],"deny":["privileged"],"message":"ask ops"}
{"name":"readers","users":["bob"],"actions":["container","docker_"],"readonly":true}
`, "ci")
	const size = "104857600"
	direct := callIsulad(t, "unix:"+socket)
	if want := `List: text
Stop: 
Version: UNKNOWN no ü %ut
Unknown: UNIMPLEMENTED Method not found!
Wait: DEADLINE_EXCEEDED Deadline Exceeded
Create: 1
Logs: 65536
CopyFromContainer: ` + size + `
CopyToContainer: ` + size + `
Attach: 1 a b 3
RemoteExec: 1 a b 3
`; direct != want {
		t.Fatalf("without a front: %s", direct)
	}
	ruled := strings.Replace(direct, "Create: 1", "Create: PERMISSION_DENIED ask ops", 1)
	ruled = strings.Replace(ruled, "UNIMPLEMENTED Method not found!", "PERMISSION_DENIED ask ops", 1)
	denied := func(action string) string {
		return `: PERMISSION_DENIED policy "readers" is read-only, and ` + action + " is not a read\n"
	}
	reader := `List: text
Stop` + denied(`"container_stop"`) + `Version: UNKNOWN no ü %ut
Unknown: PERMISSION_DENIED policy "readers" does not grant an unknown request: ` +
		`only a policy for all actions does
Wait: DEADLINE_EXCEEDED Deadline Exceeded
Create` + denied(`"container_create"`) + `Logs: 65536
CopyFromContainer` + denied(`"container_archive"`) +
		`CopyToContainer` + denied(`"container_archive"`) +
		`Attach` + denied(`"container_attach"`) + `RemoteExec` + denied(`"container_exec_create"`)

	pem := func(name string) string { return filepath.Join(f.certs, "bob", name+".pem") }
	local := filepath.Join(f.dir, "bobs.sock")
	connect := exec.Command(shared.broker, "connect", "--listen", "unix://"+local, "tcp://"+f.tcp,
		"--cert", pem("cert"), "--key", pem("key"), "--ca", pem("ca"))
	if err := connect.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		connect.Process.Kill()
		connect.Wait()
	}()
	engine.WaitFor(t, "connect to listen", func() bool { return canDial(local) })
	for _, c := range []struct {
		user string
		args []string
		want string
	}{
		{"unix:root", []string{"unix:" + f.unix}, direct},
		{"alice", []string{f.tcp, filepath.Join(f.certs, "alice")}, ruled},
		{"ci", []string{"unix:" + f.socketOf("ci")}, ruled},
		{"bob", []string{"unix:" + local}, reader},
	} {
		if got := callIsulad(t, c.args...); got != c.want {
			t.Errorf("%s: got %s, want %s", c.user, got, c.want)
		}
		if want := "List " + c.user + " 1\n"; !strings.Contains(log.String(), want) {
			t.Errorf("iSulad was not called as %s", c.user)
		}
	}
	if strings.Count(log.String(), " root 0\n") != strings.Count(direct, "\n") {
		t.Errorf("a client chose its name: %s", log)
	}
}

// TestFrontIsuladKilled kills iSulad while a stream is open.
func TestFrontIsuladKilled(t *testing.T) {
	socket, _, kill := startIsulad(t)
	f := startFront(t, "isulad", socket, `{"unix_users":["root"],"actions":[""]}`)
	client := exec.Command(python, "testdata/isulad_client.py", "unix:"+f.unix, "hold")
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer client.Wait()
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "open\n" {
		t.Fatalf("%q, %v", line, err)
	}
	kill()
	if rest, _ := io.ReadAll(lines); !strings.HasPrefix(string(rest), "end: UNAVAILABLE ") {
		t.Errorf("the stream ends with %q", rest)
	}
	if got := callIsulad(t, "unix:"+f.unix); !strings.HasPrefix(got, "List: UNAVAILABLE ") {
		t.Errorf("without iSulad: %s", got)
	}
}
