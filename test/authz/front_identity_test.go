//go:build integration

package authz

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/engine"
)

// dialTLS connects to a front as user.
func dialTLS(t *testing.T, f *front, user string) (*tls.Conn, error) {
	return tls.Dial("tcp", f.tcp, f.tlsConfig(t, user))
}

func readPEM(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s: no PEM", path)
	}
	return block.Bytes
}

// revoke replaces the front's list of revoked certificates by one with the users' certificates.
func (f *front) revoke(t *testing.T, users ...string) {
	t.Helper()
	parse := func(name string) *x509.Certificate {
		c, err := x509.ParseCertificate(readPEM(t, filepath.Join(f.certs, name)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key, err := x509.ParseECPrivateKey(readPEM(t, filepath.Join(f.certs, "ca-key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	f.writeCRL(t, parse("ca.pem"), key, users, parse)
}

func (f *front) writeCRL(t *testing.T, ca *x509.Certificate, key *ecdsa.PrivateKey, users []string,
	parse func(string) *x509.Certificate) {
	t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(time.Hour),
	}
	for _, user := range users {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: parse(filepath.Join(user, "cert.pem")).SerialNumber, RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	if err := os.WriteFile(f.crl+".new", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.crl+".new", f.crl); err != nil {
		t.Fatal(err)
	}
}

// TestFrontRevocation checks that a revoked certificate ends open connections and streams, also in
// the middle of a connection.
func TestFrontRevocation(t *testing.T) {
	t.Parallel()
	e := startFakeEngine(t)
	f := newFront(t, "docker", e.socket, `{"name":"all","users":["alice","bob"],"actions":[""]}`)
	f.crl = filepath.Join(f.dir, "crl.pem")
	f.revoke(t)
	f.begin(t, nil)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	if code, text := f.get(t, alice, "/_ping"); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	stream, err := f.client(t, "alice").Get("https://" + f.tcp + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream.Body)
		ended <- err
	}()
	kept, err := dialTLS(t, f, "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	kept.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(kept)
	ask := func() (int, error) {
		_, err := io.WriteString(kept, strings.Replace(ping, "Connection: close\r\n", "", 1))
		if err != nil {
			return 0, err
		}
		code, _, err := readAnswer(answers)
		return code, err
	}
	if code, err := ask(); code != 200 {
		t.Fatalf("%d, %v", code, err)
	}
	f.revoke(t, "alice")
	engine.WaitFor(t, "the open connection to be refused", func() bool {
		code, err := ask()
		return err != nil || code == 403
	})
	if response, err := f.client(t, "alice").Get("https://" + f.tcp + "/_ping"); err == nil {
		response.Body.Close()
		if response.StatusCode == 200 {
			t.Error("a new connection with a revoked certificate is served")
		}
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the stream looks complete")
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream is still open 20s after the revocation")
	}
	if code, text := f.get(t, bob, "/_ping"); code != 200 {
		t.Errorf("bob: %d %s", code, text)
	}
}

// TestFrontRenegotiation checks that a client cannot change its certificate on an open connection.
func TestFrontRenegotiation(t *testing.T) {
	engine.Need(t, "openssl")
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, `{"name":"all","users":["alice"],"actions":[""]}`)
	pem := func(name string) string { return filepath.Join(f.certs, "alice", name) }
	// "R" at the beginning of a line makes openssl renegotiate.
	cmd := exec.Command("timeout", "20", "openssl", "s_client", "-connect", f.tcp, "-tls1_2",
		"-cert", pem("cert.pem"), "-key", pem("key.pem"), "-CAfile", pem("ca.pem"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	shows := func(text string) func() bool {
		return func() bool { return strings.Contains(out.String(), text) }
	}
	engine.WaitFor(t, "the handshake", shows("Verify return code: 0"))
	io.WriteString(in, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
	engine.WaitFor(t, "an answer", shows("HTTP/1.1 200"))
	io.WriteString(in, "R\n")
	engine.WaitFor(t, "a new handshake", shows("RENEGOTIATING"))
	engine.WaitFor(t, "it to be refused", shows("SSL alert number"))
	if code, err := exec.Command("timeout", "20", "openssl", "s_client", "-connect", f.tcp, "-tls1_1",
		"-cipher", "ALL:@SECLEVEL=0").CombinedOutput(); err == nil {
		t.Errorf("TLS 1.1: %s", code)
	}
}

// peerScript connects, sends a request, and leaves the connection to a child process that sends
// another one when its standard input has a line.
const peerScript = `
import os, socket, sys
def ask():
    s.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = s.recv(65536).decode()
    print(answer.split()[1] if answer else "closed", flush=True)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
ask()
if os.fork() == 0:
    sys.stdin.readline()
    try:
        ask()
    except OSError as e:
        print("closed", flush=True)
`

// containerCgroup creates a cgroup with the name of a container, and returns its directory.
func containerCgroup(t *testing.T, id string) string {
	t.Helper()
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	name := fmt.Sprintf("palisade-front-%d-%d", os.Getppid(), time.Now().UnixNano())
	parent := filepath.Join(root, name)
	dir := filepath.Join(parent, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		engine.WaitFor(t, "the cgroup to be empty", func() bool { return os.Remove(dir) == nil })
		if err := os.Remove(parent); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFrontReusedPID checks that a connection whose client has ended is not attributed to the
// container of another process that has got its pid.
func TestFrontReusedPID(t *testing.T) {
	engine.Need(t, "python3")
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket,
		`{"name":"web","containers":["web"],"actions":["docker_ping"]}`)
	id := strings.Repeat("0123456789abcdef", 4)
	e.containers[id] = "web"
	dir := containerCgroup(t, id)
	procs := filepath.Join(dir, "cgroup.procs")
	// start starts the script, in the container if inside, and returns its pid and first answer.
	start := func(inside bool) (pid int, first string, second func() string) {
		t.Helper()
		script := `exec python3 -c "$0" "$@"`
		if inside {
			script = "echo 0 >" + procs + " && " + script
		}
		cmd := exec.Command("sh", "-c", script, peerScript, f.unix)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = w, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r.SetReadDeadline(time.Now().Add(time.Minute))
		lines := bufio.NewReader(r)
		if first, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		pid = cmd.Process.Pid
		cmd.Process.Wait() // the pid is free
		return pid, strings.TrimSpace(first), func() string {
			defer r.Close()
			defer in.Close()
			io.WriteString(in, "\n")
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Error(err)
			}
			return strings.TrimSpace(line)
		}
	}
	_, first, second := start(true)
	if first != "200" {
		t.Fatalf("a process of the container: %s", first)
	}
	second()
	for try := range 20 {
		pid, first, second := start(false)
		if first != "403" {
			t.Fatalf("a process of the host: %s", first)
		}
		thief := reusePID(t, pid, procs)
		got := second()
		if thief != nil {
			thief.Process.Kill()
			thief.Wait()
			if got == "200" {
				t.Errorf("a connection of the host is taken for the container's after pid %d was reused", pid)
			}
			return
		}
		t.Logf("try %d: another process got pid %d", try, pid)
	}
	t.Error("the pid was never reused")
}

// reusePID starts a process with the given pid in a cgroup, or returns nil.
func reusePID(t *testing.T, pid int, procs string) *exec.Cmd {
	t.Helper()
	last := []byte(strconv.Itoa(pid - 1))
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", last, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo 0 >"$0" && echo && exec sleep 1000`, procs)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil || cmd.Process.Pid != pid {
		cmd.Process.Kill()
		cmd.Wait()
		return nil
	}
	return cmd
}
