package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// host has directories that stand for /run and /var/lib, and the real /proc.
type host struct {
	Options
	t   *testing.T
	dir string
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &host{t: t, dir: dir, Options: Options{
		Run: filepath.Join(dir, "run"), Lib: filepath.Join(dir, "lib"),
		Etc: filepath.Join(dir, "etc"), Proc: "/proc",
		Registry: Registry{filepath.Join(dir, "registry"), "/proc"},
		Isula:    filepath.Join(dir, "isula"),
		Timeout:  10 * time.Second,
	}}
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	h.t.Helper()
	write(h.t, h.path(name), text)
}

// check compares the containers, ordered by pid, and the skipped sources, ordered by name. For each
// of these skipped contains parts of its error.
func (h *host) check(want []Container, skipped ...[]string) {
	h.t.Helper()
	var got []Container
	var gotSkipped []Skipped
	within(h.t, h.Timeout+10*time.Second, func() { got, gotSkipped = Find(h.t.Context(), h.Options) })
	slices.SortFunc(want, func(a, b Container) int { return a.PID - b.PID })
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		h.t.Errorf("got  %+v\nwant %+v", got, want)
	}
	slices.SortFunc(gotSkipped, func(a, b Skipped) int { return strings.Compare(a.Source, b.Source) })
	if len(gotSkipped) != len(skipped) {
		h.t.Fatalf("skipped: got %v, want %q", gotSkipped, skipped)
	}
	for i, texts := range skipped {
		text := fmt.Sprintf("%s: %v", gotSkipped[i].Source, gotSkipped[i].Error)
		if !strings.HasPrefix(text, texts[0]) {
			h.t.Errorf("skipped: got %q, want it to begin with %q", text, texts[0])
		}
		for _, want := range texts {
			if !strings.Contains(text, want) {
				h.t.Errorf("skipped: got %q, want one with %q", text, want)
			}
		}
	}
}

const (
	taskDir       = "run/containerd/io.containerd.runtime.v2.task/"
	dockerTaskDir = "run/docker/containerd/daemon/io.containerd.runtime.v2.task/"
	podmanStore   = "lib/containers/storage/overlay-containers/containers.json"
)

func TestFindNothing(t *testing.T) {
	h := newHost(t)
	h.check(nil)
	h.Isula = ""
	h.check(nil)
	for _, dir := range []string{"run/runc/x", "run/crun/y", taskDir + "moby/z", "lib/containers/storage/overlay-containers", "registry"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.check(nil)
}

// TestFind finds one container of each kind.
func TestFind(t *testing.T) {
	h := newHost(t)
	var want []Container
	add := func(id, engine string, names ...string) *process {
		p := start(t)
		want = append(want, Container{ID: id, Names: names, Engine: engine, PID: p.pid})
		return p
	}
	task := func(dir, id string, p *process, config string) {
		h.write(dir+id+"/init.pid", fmt.Sprintf("%d", p.pid))
		if config != "" {
			h.write(dir+id+"/config.json", fixture(t, config))
		}
	}

	h.write("run/runc/plain-runc/state.json", add("plain-runc", "runc").runc(t, "plain-runc"))
	h.write("run/crun/plain-crun/status", add("plain-crun", "crun").crun(t))

	p := add("docker1", "docker")
	h.write("run/docker/runtime-runc/moby/docker1/state.json", p.runc(t, "docker1"))
	task(dockerTaskDir+"moby/", "docker1", p, "")
	task(
		taskDir+"moby/", "docker2", add("docker2", "docker"), "nerdctl-config.json",
	) // of the host's containerd

	p = add("kubernetes", "containerd", "default/nginx-7c5ddbdf54-x2v9k/nginx")
	h.write("run/containerd/runc/k8s.io/kubernetes/state.json", p.runc(t, "kubernetes"))
	task(taskDir+"k8s.io/", "kubernetes", p, "cri-config.json")
	task(
		taskDir+"default/", "nerdctl", add("nerdctl", "containerd", "web"), "nerdctl-config.json",
	) // of another runtime
	task(taskDir+"default/", "ctr", add("ctr", "containerd"), "")

	const podmanID = "f8942d06e8270f6ce77cd8e724dc1cc373c784c398b8c31f46cedaceb9d800a9"
	h.write("run/crun/"+podmanID+"/status", add(podmanID, "podman", "web").crun(t))
	h.write(podmanStore, fixture(t, "podman-containers.json"))
	const crioID = "2f6d8b0a4c6e8f1a3b5d7f9c1e3a5b7d9f1c3e5a7b9d1f3c5e7a9b1d3f5c7e9a"
	h.write(
		"run/runc/"+crioID+"/state.json",
		add(
			crioID, "cri-o",
			"k8s_nginx_nginx-7c5ddbdf54-x2v9k_default_5f0c3a1e-8d6b-4f2a-9c7e-1b3d5f7a9c0e_0",
		).runc(t, crioID),
	)
	h.write(
		"lib/containers/storage/vfs-containers/containers.json", fixture(t, "crio-containers.json"),
	)

	p = add("isulad", "runc") // without isula
	h.write("run/isulad/runc/isulad/state.json", p.runc(t, "isulad"))
	p = add("unknown", "")
	if err := h.Registry.Add("unknown", p.pid); err != nil {
		t.Fatal(err)
	}
	h.check(want)
}

// TestFindPutsTogether merges the findings of several sources.
func TestFindPutsTogether(t *testing.T) {
	h := newHost(t)
	p := start(t)
	if err := h.Registry.Add(dockerID, p.pid); err != nil {
		t.Fatal(err)
	}
	h.write("run/docker/runtime-runc/moby/"+dockerID+"/state.json", p.runc(t, dockerID))
	h.write(dockerTaskDir+"moby/"+dockerID+"/init.pid", fmt.Sprintln(p.pid))
	asked := serve(
		t, h.path("run/docker.sock"),
		map[string]string{"/containers/json": fixture(t, "docker-list.json")},
	)
	h.check([]Container{{ID: dockerID, Names: []string{"web"}, Engine: "docker", PID: p.pid}})
	if got, want := asked(), []string{"/containers/json"}; !slices.Equal(got, want) {
		t.Errorf("docker was asked for %q, want %q", got, want)
	}
}

// TestFindLeavesOutTheDead ignores the files of containers that have ended.
func TestFindLeavesOutTheDead(t *testing.T) {
	h := newHost(t)
	p, dead := start(t), start(t)
	h.write("run/runc/a/state.json", dead.runc(t, "a"))
	h.write("run/crun/b/status", dead.crun(t))
	h.write(taskDir+"default/c/init.pid", fmt.Sprint(dead.pid))
	dead.end()
	h.write("run/runc/d/state.json", runcState(t, "d", p.pid, p.start-time.Second))
	h.write("run/runc/e/state.json", runcState(t, "e", 0, 0))
	h.write("run/crun/f/status", `{"pid": 0}`)
	h.write("run/crun/g/status", `{"pid": -1}`)
	h.write(taskDir+"default/h/init.pid", fmt.Sprint(p.pid))
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(h.path(taskDir+"default/h/init.pid"), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	h.write(podmanStore, fixture(t, "podman-containers.json"))
	h.check(nil)
}

// TestFindSkips reports invalid files, waits for no FIFO, and finds the other containers.
func TestFindSkips(t *testing.T) {
	h := newHost(t)
	a, b, c := start(t), start(t), start(t)
	want := []Container{
		{
			ID: "a", Engine: "runc", PID: a.pid,
		}, {ID: "b", Engine: "crun", PID: b.pid}, {ID: "c", Engine: "containerd", PID: c.pid},
	}
	h.write("run/runc/a/state.json", a.runc(t, "a"))
	h.write("run/crun/b/status", b.crun(t))
	h.write(taskDir+"default/c/init.pid", fmt.Sprint(c.pid))

	fifo(t, h.path("run/runc/0/state.json"))
	h.write("run/runc/half/state.json", a.runc(t, "half")[:40])
	h.write("run/runc/empty/state.json", "")
	h.write("run/containerd/runc/default/id/state.json", runcState(t, "../id", a.pid, a.start))
	if err := os.MkdirAll(h.path("run/isulad/runc/dir/state.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	fifo(t, h.path("run/crun/0/status"))
	h.write("run/crun/half/status", `{"pid": 7`)
	fifo(t, h.path(taskDir+"default/0/init.pid"))
	h.write(taskDir+"default/half/init.pid", "")
	h.write(taskDir+"default/huge/init.pid", strings.Repeat("1", maxRecord+1))
	fifo(t, h.path(podmanStore))
	h.write("lib/containers/storage/vfs-containers/containers.json", "hello")
	fifo(t, h.path("registry/1"))
	h.check(
		want,
		[]string{
			"containerd: ", taskDir + "default/0/init.pid: ",
			taskDir + "default/half/init.pid: ", taskDir + "default/huge/init.pid: ",
		},
		[]string{"crun: ", "run/crun/0/status: ", "run/crun/half/status: "},
		[]string{"podman: ", podmanStore + ": ", "vfs-containers/containers.json: invalid character"},
		[]string{"registry: ", "registry/1: "},
		[]string{
			"runc: ", "run/runc/0/state.json: ", "run/runc/half/state.json: ", "run/runc/empty/state.json: ",
			"run/containerd/runc/default/id/state.json: ", "run/isulad/runc/dir/state.json: ",
		},
	)
}
