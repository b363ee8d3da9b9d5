package engine

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve answers GET requests at a socket like an engine. The function that it returns lists the
// requested paths.
func serve(t *testing.T, socket string, answers map[string]string) (asked func() []string) {
	t.Helper()
	var lock sync.Mutex
	var paths []string
	serveWith(t, socket, func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		paths = append(paths, r.URL.Path)
		lock.Unlock()
		answer, ok := answers[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"message":"page not found"}`
		}
		fmt.Fprint(w, answer)
	})
	return func() []string {
		lock.Lock()
		defer lock.Unlock()
		return slices.Sorted(slices.Values(paths))
	}
}

func serveWith(t *testing.T, socket string, handle http.HandlerFunc) {
	t.Helper()
	server := &http.Server{Handler: handle}
	l := listen(t, socket)
	var wait sync.WaitGroup
	wait.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		wait.Wait()
	})
}

func listen(t *testing.T, socket string) net.Listener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// inspected returns Docker's answer for a container with the pid.
func inspected(t *testing.T, pid int) string {
	return strings.Replace(
		fixture(t, "docker-inspect.json"), `"Pid":82`, fmt.Sprintf(`"Pid":%d`, pid), 1,
	)
}

// TestAPITellsPIDs asks the API for a pid that no file contains.
func TestAPITellsPIDs(t *testing.T) {
	h := newHost(t)
	a, b, dead := start(t), start(t), start(t)
	dead.end()
	asked := serve(t, h.path("run/docker.sock"), map[string]string{
		"/containers/json":                  fixture(t, "docker-list.json"),
		"/containers/" + dockerID + "/json": inspected(t, a.pid),
	})
	serve(t, h.path("run/podman/podman.sock"), map[string]string{
		"/containers/json":         `[{"Id":"b","Names":["/box","/other/alias"]},{"Id":"dead","Names":["/dead"]},{"Id":"created","Names":null}]`,
		"/containers/b/json":       inspected(t, b.pid),
		"/containers/dead/json":    inspected(t, dead.pid),
		"/containers/created/json": inspected(t, 0),
	})
	h.check([]Container{
		{ID: dockerID, Names: []string{"web"}, Engine: "docker", PID: a.pid},
		{ID: "b", Names: []string{"box", "other/alias"}, Engine: "podman", PID: b.pid},
	})
	want := []string{"/containers/" + dockerID + "/json", "/containers/json"}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("docker was asked for %q, want %q", got, want)
	}
}

// TestAPIManyPIDs asks for several pids at a time.
func TestAPIManyPIDs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	proc := fakeProc(h.path("proc"))
	h.Proc = string(proc)
	const n = 100
	var list []string
	answers := make(map[string]string)
	var want []Container
	for i := range n {
		pid, id := 1000+i, fmt.Sprintf("c%d", i)
		proc.add(t, pid, time.Hour)
		list = append(list, `{"Id":"`+id+`"}`)
		answers["/containers/"+id+"/json"] = fmt.Sprintf(`{"State":{"Pid":%d}}`, pid)
		want = append(want, Container{ID: id, Engine: "docker", PID: pid})
	}
	answers["/containers/json"] = "[" + strings.Join(list, ",") + "]"
	serve(t, h.path("run/docker.sock"), answers)
	h.check(want)
}

// TestAPIFails reports an engine with a wrong answer, and finds the containers in files.
func TestAPIFails(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, "[]")
		}
	}
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	for name, tt := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"an error":    {status(http.StatusInternalServerError), "GET /containers/json: 500 Internal Server Error"},
		"not found":   {status(http.StatusNotFound), "GET /containers/json: 404 Not Found"},
		"nothing":     {answer(""), "GET /containers/json: EOF"},
		"garbage":     {answer("hello"), "GET /containers/json: invalid character"},
		"half a list": {answer(`[{"Id":"`), "GET /containers/json: unexpected EOF"},
		"an object":   {answer(`{"message":"x"}`), "GET /containers/json: json: cannot unmarshal object"},
		"hanging up":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			p := start(t)
			h.write("run/docker/runtime-runc/moby/a/state.json", p.runc(t, "a"))
			socket := h.path("run/docker.sock")
			serveWith(t, socket, tt.handle)
			h.check(
				[]Container{{ID: "a", Engine: "docker", PID: p.pid}},
				[]string{"docker at " + socket + ": ", tt.want},
			)
		})
	}
}

// TestAPIDoesNotAnswer reports an engine that does not answer in time.
func TestAPIDoesNotAnswer(t *testing.T) {
	forEver := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, handle := range map[string]http.HandlerFunc{
		"at all": forEver,
		"to the end": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `[{"Id":"a",`)
			w.(http.Flusher).Flush()
			forEver(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.Timeout = time.Second
			p := start(t)
			h.write("run/docker/runtime-runc/moby/a/state.json", p.runc(t, "a"))
			serveWith(t, h.path("run/docker.sock"), handle)
			h.check(
				[]Container{{ID: "a", Engine: "docker", PID: p.pid}},
				[]string{"docker at ", "context deadline exceeded"},
			)
		})
	}
}

// TestAPIIsNotEvenAccepted connects to the socket of a stopped daemon, which accepts connections
// until its queue is full.
func TestAPIIsNotEvenAccepted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Timeout = 200 * time.Millisecond
	listen(t, h.path("run/docker.sock"))
	listen(t, h.path("run/podman/podman.sock"))
	h.check(
		nil, []string{"docker at ", "context deadline exceeded"},
		[]string{"podman at ", "context deadline exceeded"},
	)
}

// TestAPIIsNotThereYet does not wait long for an engine that systemd will start after lxcfs, and
// for which it listens.
func TestAPIIsNotThereYet(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Timeout = time.Minute
	listen(t, h.path("run/docker.sock"))
	started := time.Now()
	h.check(nil, []string{"docker at ", "i/o timeout"})
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestAPIDoesNotTellPIDs finds those of the listed containers whose pids are known from files.
func TestAPIDoesNotTellPIDs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Timeout = 2 * time.Second
	p := start(t)
	h.write("run/docker/runtime-runc/moby/a/state.json", p.runc(t, "a"))
	serveWith(t, h.path("run/docker.sock"), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/containers/json" {
			<-r.Context().Done()
		}
		fmt.Fprint(w, `[{"Id":"b","Names":["/other"]},{"Id":"a","Names":["/web"]}]`)
	})
	h.check([]Container{{ID: "a", Names: []string{"web"}, Engine: "docker", PID: p.pid}},
		[]string{"docker at ", "/containers/b/json", "context deadline exceeded"})
}

// TestAPIKnowsBetter replaces the old pid of a restarted container in a file, and accepts that a
// container ends between two requests.
func TestAPIKnowsBetter(t *testing.T) {
	h := newHost(t)
	dead, p := start(t), start(t)
	h.write("run/docker/runtime-runc/moby/a/state.json", dead.runc(t, "a"))
	dead.end()
	serve(t, h.path("run/docker.sock"), map[string]string{
		"/containers/json":   `[{"Id":"a","Names":["/web"]},{"Id":"gone","Names":["/gone"]}]`,
		"/containers/a/json": inspected(t, p.pid),
	})
	h.check([]Container{{ID: "a", Names: []string{"web"}, Engine: "docker", PID: p.pid}})
}

// TestPodmanForDocker has a link from Docker's socket to Podman's, as the package podman-docker
// creates it.
func TestPodmanForDocker(t *testing.T) {
	h := newHost(t)
	p := start(t)
	serve(t, h.path("run/podman/podman.sock"), map[string]string{
		"/containers/json":   `[{"Id":"a","Names":["/web"]}]`,
		"/containers/a/json": inspected(t, p.pid),
	})
	if err := os.Symlink("podman/podman.sock", h.path("run/docker.sock")); err != nil {
		t.Fatal(err)
	}
	h.check([]Container{{ID: "a", Names: []string{"web"}, Engine: "podman", PID: p.pid}})
}

// TestAPIStaleSocket reports the socket that a killed daemon has left.
func TestAPIStaleSocket(t *testing.T) {
	h := newHost(t)
	socket := h.path("run/docker.sock")
	l := listen(t, socket)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	h.check(nil, []string{"docker at " + socket + ": ", "connection refused"})
}

// TestAPINoSocket ignores a file that is not a socket.
func TestAPINoSocket(t *testing.T) {
	h := newHost(t)
	fifo(t, h.path("run/docker.sock"))
	h.write("run/podman/podman.sock", "")
	h.check(nil)
}
