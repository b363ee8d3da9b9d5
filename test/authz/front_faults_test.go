//go:build integration

package authz

import (
	"bufio"
	"context"
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
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// forRobot is a policy for the user of a socket.
const forRobot = `{"name":"all","users":["robot"],"actions":[""]}`

// forBoth is one for a certificate, too.
const forBoth = `{"name":"all","users":["robot","alice"],"actions":[""]}`

// memory returns the resident memory of a process in KiB.
func memory(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// TestFrontManyConnections checks that the front answers beside idle and slow clients and huge
// headers, and that slow clients are disconnected.
func TestFrontManyConnections(t *testing.T) {
	t.Parallel()
	e := startFakeEngine(t)
	// The connections of one client are limited.
	users := strings.Fields("robot r1 r2 r3 r4 r5 r6 r7 r8 r9")
	f := startFront(t, "docker", e.socket, `{"name":"dev","users":["`+strings.Join(users, `","`)+
		`"],"actions":[""],"deny":["privileged"]}`, users...)
	socket, dialed := f.socketOf("robot"), 0
	dial := func(text string) net.Conn {
		dialed++
		c, err := net.Dial("unix", f.socketOf(users[dialed/2%len(users)]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, text)
		return c
	}
	var slow []net.Conn
	started := time.Now()
	for _, text := range []string{
		"", "G", "GET /_ping HTTP/1.1\r\n", "GET /_ping HTTP/1.1\r\nHost: x\r\nX: ",
		"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
			"Content-Length: 100\r\n\r\n{",
	} {
		slow = append(slow, dial(text))
	}
	n := ctr.Repeat(2000, 10000)
	for i := range n {
		c := dial("")
		if i%2 == 0 {
			continue
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, strings.Replace(ping, "Connection: close\r\n", "", 1))
		if code, _, err := readAnswer(bufio.NewReader(c)); code != 200 {
			t.Fatalf("connection %d: %d, %v", i, code, err)
		}
	}
	t.Logf("with %d connections: %d KiB", n, memory(t, f.cmd.Process.Pid))
	for range 100 {
		began := time.Now()
		if code, text, err := oneRequest("unix", socket, ping); code != 200 {
			t.Fatalf("%d %s, %v", code, text, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("an answer took %v", took)
		}
	}
	// The memory for heads is bounded.
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			answer := talk(t, socket, "GET /_ping HTTP/1.1\r\nHost: x\r\nX: "+
				strings.Repeat("x", 4<<20)+"\r\n\r\n", 10*time.Second)
			// The answer is lost if the rest of the head is still being sent.
			if answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 431 ") {
				t.Errorf("huge header: %.100q", answer)
			}
		})
	}
	all.Wait()
	if kib := memory(t, f.cmd.Process.Pid); kib > 1<<20 {
		t.Errorf("%d KiB of memory, want at most 1 GiB", kib)
	}
	seen, _ := e.take()
	for _, r := range seen {
		if r.line != "GET /_ping" {
			t.Errorf("the engine got %s %q", r.line, r.body)
		}
	}
	for i, c := range slow[1:] {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		answer, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("slow client %d is still connected after %v: %q, %v", i+1, time.Since(started),
				answer, err)
		}
	}
}

// TestFrontHalfClosed checks that each side of an attached stream can be closed alone, with and
// without Upgrade, and through TLS.
func TestFrontHalfClosed(t *testing.T) {
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, forBoth, "robot")
	type halfConn interface {
		net.Conn
		CloseWrite() error
	}
	dials := map[string]func() (halfConn, error){
		"unix": func() (halfConn, error) {
			return net.DialUnix("unix", nil, &net.UnixAddr{Name: f.socketOf("robot"), Net: "unix"})
		},
		"TLS": func() (halfConn, error) { return dialTLS(t, f, "alice") },
	}
	const size = 3 << 20
	for network, dial := range dials {
		for _, headers := range []string{"", "Connection: Upgrade\r\nUpgrade: tcp\r\n"} {
			for query, want := range map[string]string{
				"": fmt.Sprintf("received %d bytes", size), "?first": "bye",
			} {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				fmt.Fprintf(c, "POST /containers/web/attach%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, headers)
				r := bufio.NewReader(c)
				line, err := r.ReadString('\n')
				for rest := line; err == nil && rest != "\r\n"; rest, err = r.ReadString('\n') {
				}
				if err != nil || (headers == "") != strings.HasPrefix(line, "HTTP/1.1 200") {
					t.Fatalf("%s%s %q: %q, %v", network, query, headers, line, err)
				}
				early := ""
				if query != "" { // the engine has closed its side
					text, err := io.ReadAll(r)
					if early = string(text); err != nil {
						t.Errorf("%s%s: %v", network, query, err)
					}
				}
				if n, err := c.Write(make([]byte, size)); err != nil {
					t.Errorf("%s%s %q: written %d, %v", network, query, headers, n, err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Errorf("%s%s: %v", network, query, err)
				}
				text, err := io.ReadAll(r)
				if got := early + string(text); got != want || err != nil {
					t.Errorf("%s%s %q: %q, %v, want %q", network, query, headers, got, err, want)
				}
				engine.WaitFor(t, "the engine to get all bytes", func() bool {
					e.mu.Lock()
					defer e.mu.Unlock()
					last := e.seen[len(e.seen)-1].line
					return last == fmt.Sprintf("received %d bytes", size)
				})
			}
		}
	}
}

// TestFrontUpstreamFails checks that a client never takes an interrupted answer for a complete one,
// and that the front needs no restart after one of the engine.
func TestFrontUpstreamFails(t *testing.T) {
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, forBoth, "robot")
	client := f.client(t, "alice")
	for _, path := range []string{"/images/broken/get", "/images/broken/get?length"} {
		response, err := client.Get("https://" + f.tcp + path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err == nil {
			t.Errorf("%s: %d bytes, want an error", path, n)
		}
	}
	stream, err := client.Get("https://" + f.tcp + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	e.server.Close()
	if text, err := io.ReadAll(stream.Body); err == nil || string(text) != "{}\n" {
		t.Errorf("events of a killed engine: %q, %v", text, err)
	}
	code, text, err := oneRequest("unix", f.socketOf("robot"), ping)
	if code != 502 || !strings.Contains(text, `{"message":"authz-broker: `) {
		t.Errorf("without an engine: %d %s, %v", code, text, err)
	}
	e.start(t)
	if code, text := f.get(t, client, "/_ping"); code != 200 {
		t.Errorf("after a restart: %d %s", code, text)
	}
}

// TestFrontClientLeaves checks that the front ends the engine's streams and downloads of clients
// that have gone, and is not held up by clients that do not read.
func TestFrontClientLeaves(t *testing.T) {
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, forRobot, "robot")
	connections := func() (n int) {
		dir := fmt.Sprintf("/proc/%d/fd", f.cmd.Process.Pid)
		files, _ := os.ReadDir(dir) // for the message only
		for _, file := range files {
			if to, _ := os.Readlink(filepath.Join(dir, file.Name())); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	before := connections()
	for _, path := range []string{"/events", "/images/large/get", "/containers/web/attach"} {
		method := "GET"
		if strings.HasSuffix(path, "attach") {
			method = "POST"
		}
		for range 20 {
			c, err := net.Dial("unix", f.socketOf("robot"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path)
			if _, err := io.ReadFull(c, make([]byte, 20)); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(200*time.Millisecond, func() { c.Close() })
		}
		engine.WaitFor(t, "the streams to end: "+path, func() bool { return connections() <= before+2 })
	}
	if kib := memory(t, f.cmd.Process.Pid); kib > 200<<10 {
		t.Errorf("%d KiB of memory", kib)
	}
}

// TestFrontRestart checks that no request is lost that was not in flight while the front is stopped
// or killed, and started again, with a socket of the service manager.
func TestFrontRestart(t *testing.T) {
	e := startFakeEngine(t)
	f := newFront(t, "docker", e.socket, forRobot)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.unix, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	passed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	l.Close() // passed still listens
	start := func() {
		args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, shared.broker, "--policy-file", f.policy,
			"--audit", f.audit, "front", "--engine", "docker", "--upstream", "unix://" + e.socket,
			"--listen", "unix://" + f.unix + ",user=robot"}
		cmd := exec.Command("sh", args...)
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
		cmd.ExtraFiles = []*os.File{passed}
		f.launch(t, cmd)
	}
	start()
	// outage is the time from before a signal until the process has ended.
	type outage struct {
		from, to time.Time
		signal   syscall.Signal
	}
	type request struct {
		from, to time.Time
		err      error
	}
	var mu sync.Mutex
	var requests []request
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				r := request{from: time.Now()}
				code, _, err := oneRequest("unix", f.unix, ping)
				if r.err = err; err == nil && code != 200 {
					r.err = fmt.Errorf("status %d", code)
				}
				r.to = time.Now()
				mu.Lock()
				requests = append(requests, r)
				mu.Unlock()
			}
		})
	}
	answered := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(requests)
	}
	var outages []outage
	for i := range ctr.Repeat(6, 100) {
		before := answered()
		engine.WaitFor(t, "requests to be answered", func() bool { return answered() > before+200 })
		o := outage{from: time.Now(), signal: syscall.SIGTERM}
		if i%2 == 1 {
			o.signal = syscall.SIGKILL
		}
		f.signal(t, o.signal)
		f.wait(t)
		o.to = time.Now()
		outages = append(outages, o)
		start()
	}
	before := answered()
	engine.WaitFor(t, "requests to be answered", func() bool { return answered() > before+200 })
	stop()
	clients.Wait()
	failed := 0
	for _, r := range requests {
		if r.err == nil {
			continue
		}
		failed++
		inFlight := false
		for _, o := range outages {
			if o.signal == syscall.SIGKILL && r.from.Before(o.to) && r.to.After(o.from) {
				inFlight = true
			}
		}
		if !inFlight {
			t.Errorf("a request at %v, which took %v: %v", r.from, r.to.Sub(r.from), r.err)
		}
	}
	t.Logf("%d requests, %d outages, %d requests lost in flight", len(requests), len(outages), failed)
	if most := 8 * len(outages) / 2; failed > most {
		t.Errorf("%d requests failed, want at most %d", failed, most)
	}
}

// TestFrontReload checks that changed policies hold for the next request on an open connection, and
// end streams that they do not allow.
func TestFrontReload(t *testing.T) {
	t.Parallel()
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, `{"name":"all","users":["alice"],"actions":[""]}`)
	client := f.client(t, "alice")
	stream, err := client.Get("https://" + f.tcp + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if code, text := f.get(t, client, "/_ping"); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	f.replace(t, `{"name":"ps","users":["alice"],"actions":["container_list"],"message":"ask carol"}`)
	if code, text := f.get(t, client, "/_ping"); code != 403 || !strings.Contains(text, "ask carol") {
		t.Errorf("after the reload: %d %s", code, text)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream.Body)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the stream looks complete")
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream is still open 20s after the reload")
	}
}

// TestFrontNotHTTP checks that the listener with TLS serves no client without a certificate, and
// nothing but HTTP/1.1.
func TestFrontNotHTTP(t *testing.T) {
	e := startFakeEngine(t)
	f := startFront(t, "docker", e.socket, `{"name":"all","users":[""],"actions":[""]}`)
	config := f.tlsConfig(t, "alice")
	config.Certificates = nil
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	if response, err := client.Get("https://" + f.tcp + "/_ping"); err == nil {
		response.Body.Close()
		t.Errorf("without a certificate: %s", response.Status)
	}
	if code, text, err := oneRequest("tcp", f.tcp, ping); err == nil && code != 400 {
		t.Errorf("without TLS: %d %s", code, text)
	}
	other := filepath.Join(f.dir, "other")
	cmd := exec.Command(shared.broker, "certs", "--dir", other, "--client", "alice")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	stranger := *f
	stranger.certs = other
	config = stranger.tlsConfig(t, "alice")
	config.RootCAs = f.tlsConfig(t, "alice").RootCAs
	client = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	if response, err := client.Get("https://" + f.tcp + "/_ping"); err == nil {
		response.Body.Close()
		t.Errorf("with a certificate of another authority: %s", response.Status)
	}
	if seen, _ := e.take(); len(seen) != 0 {
		t.Errorf("the engine got %+v", seen)
	}
}
