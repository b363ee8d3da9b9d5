package container

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fakehost"
)

// newFakeFinder returns a Finder of the processes of h, and its number of listed containers.
func newFakeFinder(t *testing.T, h *fakehost.Host) (*Finder[int], *atomic.Uint64) {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(h.Dir, "proc/self/mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	groups, err := cgroup.Detect(table, "")
	if err != nil {
		t.Fatal(err)
	}
	known := new(atomic.Uint64)
	proc, err := sys.OpenDir(filepath.Join(h.Dir, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFinder[int](groups, proc, known, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f, known
}

// find returns the cgroup and the init of the container of a thread, or "" for the host.
func find(t *testing.T, f *Finder[int], tid int) (name string, init int) {
	t.Helper()
	var s Scratch
	c, err := f.Find(uint32(tid), &s)
	if err != nil {
		t.Fatalf("thread %d: %v", tid, err)
	}
	if c == nil {
		return "", 0
	}
	defer c.Release()
	return c.Name(), c.InitPID()
}

var hexID = strings.Repeat("0123456789abcdef", 4)

// TestFindContainers finds the containers of readers in all kinds of namespaces.
func TestFindContainers(t *testing.T) {
	h := fakehost.New(t)
	service := h.Start(fakehost.Process{Cgroup: "/system.slice/sshd.service", Start: 200})
	onHost := h.Start(fakehost.Process{Cgroup: "/docker/" + hexID, Start: 300})
	init := h.Start(fakehost.Process{
		PIDNS: "a", MountNS: "a", NSPids: "1", Cgroup: "/a/init.scope", Parent: service, Start: 400,
	})
	child := h.Start(fakehost.Process{
		PIDNS: "a", MountNS: "a", NSPids: "5", Cgroup: "/a/app", Parent: init, Start: 500,
	})
	entered := h.Start(fakehost.Process{
		PIDNS: "a", NSPids: "6", Cgroup: "/system.slice", Parent: service, Start: 500,
	})
	sidecar := h.Start(fakehost.Process{
		PIDNS: "a", MountNS: "b", NSPids: "7", Cgroup: "/b/x", Parent: service, Start: 600,
	})
	h.Write("cgroup/b/cgroup.threads", "")
	inside := h.Start(fakehost.Process{
		PIDNS: "a", MountNS: "c", NSPids: "8", Cgroup: "/a/init.scope/unit", Parent: init, Start: 700,
	})
	f, known := newFakeFinder(t, h)
	for _, tt := range []struct {
		name string
		tid  int
		want string
		init int
	}{
		{"invisible", 0, "", 0},
		{"ended", 1<<22 + 1, "", 0},
		{"this process", os.Getpid(), "", 0},
		{"a service", service, "", 0},
		{"a container in the host's pid namespace", onHost, "/docker/" + hexID, onHost},
		{"init", init, "/a", init},
		{"its child", child, "/a", init},
		{"a process of the host that entered the namespace", entered, "/a", init},
		{"another container in the namespace", sidecar, "/b", sidecar},
		{"a mount namespace inside the container", inside, "/a", init},
	} {
		for range 2 { // the second time from the cache
			f.scan.next = time.Time{} // no pause after a scan that a busy machine makes slow
			if name, pid := find(t, f, tt.tid); name != tt.want || pid != tt.init {
				t.Errorf("%s: %q of process %d, want %q of %d", tt.name, name, pid, tt.want, tt.init)
			}
		}
	}
	if f.Len() != 3 || known.Load() != 3 || len(f.All()) != 3 {
		t.Errorf("%d containers listed, %d known, want 3", f.Len(), known.Load())
	}
	for range 3 {
		if !f.Evict() {
			t.Error("no container evicted")
		}
	}
	if f.Evict() || f.Len() != 0 || len(f.byPIDNS) != 0 {
		t.Errorf("%d containers left, %v", f.Len(), f.byPIDNS)
	}
}

// TestInitMoves moves the init of a container to another cgroup: its state is kept.
func TestInitMoves(t *testing.T) {
	h := fakehost.New(t)
	process := fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: "1", Cgroup: "/a", Start: 400}
	init := h.Start(process)
	f, _ := newFakeFinder(t, h)
	var s Scratch
	c, err := f.Find(uint32(init), &s)
	if c == nil || err != nil {
		t.Fatal(c, err)
	}
	*c.State = 42
	if c.Start() != 4*time.Second || c.PIDNamespace() != h.Namespace("pid", "a") {
		t.Errorf("start %v, pid namespace %d", c.Start(), c.PIDNamespace())
	}
	if pid, err := c.PIDInside(f.proc, init, &s); pid != 1 || err != nil {
		t.Errorf("pid inside: %d, %v", pid, err)
	}
	process.Cgroup = "/moved"
	h.Add(init, process)
	c.checked.Store(c.checked.Load() - int64(recheckAfter))
	moved, err := f.Find(uint32(init), &s)
	if err != nil || moved == c || moved.Name() != "/moved" || *moved.State != 42 {
		t.Errorf("%v, %v", moved, err)
	}
	c.Release()
	moved.Release()
}

// TestContainerEnds ends one of three containers: it is forgotten, and no other.
func TestContainerEnds(t *testing.T) {
	h := fakehost.New(t)
	f, known := newFakeFinder(t, h)
	var init int
	for _, name := range []string{"b", "a", "c"} {
		pid := h.Start(fakehost.Process{PIDNS: name, MountNS: name, NSPids: "1", Cgroup: "/" + name})
		if found, _ := find(t, f, pid); found != "/"+name {
			t.Fatalf("found %q, want /%s", found, name)
		}
		if name == "a" {
			init = pid
		}
	}
	h.End(init)
	for end := time.Now().Add(10 * time.Second); f.Len() > 2 || known.Load() > 2; {
		if time.Now().After(end) {
			t.Fatalf("%d containers are still listed", f.Len())
		}
		time.Sleep(time.Millisecond)
	}
	for _, c := range f.All() {
		if c.InitPID() == init {
			t.Error("the wrong container was forgotten")
		}
		c.Release()
	}
	if name, _ := find(t, f, init); name != "" {
		t.Errorf("found %q", name)
	}
}

// TestHostProcess checks who counts as a process of the host.
func TestHostProcess(t *testing.T) {
	h := fakehost.New(t)
	service := h.Start(fakehost.Process{MountNS: "private", Cgroup: "/s"})
	user := h.Start(fakehost.Process{UserNS: "u", Cgroup: "/s"})
	init := h.Start(fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: "1", Cgroup: "/a"})
	f, _ := newFakeFinder(t, h)
	for _, tt := range []struct {
		name                  string
		tid                   int
		own, host, capability bool
	}{
		{"this process", os.Getpid(), true, true, true},
		{"with a private mount namespace", service, false, true, true},
		{"in another user namespace", user, false, false, false},
		{"in a container", init, false, false, true},
		{"invisible", 0, false, false, false},
		{"ended", 1<<22 + 1, false, false, false},
	} {
		tid := uint32(tt.tid)
		own, host := f.IsOwn(tid), f.IsHostProcess(tid)
		if own != tt.own || host != tt.host || f.Capabilities(tid) != 0 != tt.capability {
			t.Errorf("%s: own %v, host's %v, capabilities %#x",
				tt.name, own, host, f.Capabilities(tid))
		}
	}
	p, err := f.Pin(service)
	if err != nil || !p.IsAlive() || p.Start() != 0 {
		t.Fatalf("pinned: %v, alive %v", err, p.IsAlive())
	}
	defer p.Close()
	h.End(service)
	for end := time.Now().Add(10 * time.Second); p.IsAlive(); {
		if time.Now().After(end) {
			t.Fatal("the process is still alive")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := f.Pin(service); err == nil {
		t.Error("an ended process is pinned")
	}
}

// TestQuota checks both bounds, and that a principal is held while it is counted.
func TestQuota(t *testing.T) {
	h := fakehost.New(t)
	f, _ := newFakeFinder(t, h)
	q := NewQuota(2, 3)
	a, b := f.Principal(0, 1000), f.Principal(0, 1001)
	if a == b || (a.key != principalKey{uid: 1000}) || f.Principal(0, 1000) != a {
		t.Fatalf("principals %+v, %+v", a, b)
	}
	a.Release()
	for i, tt := range []struct {
		p    *Principal
		want bool
	}{{a, true}, {a, true}, {a, false}, {b, true}, {b, false}, {nil, true}} {
		if got := q.Take(tt.p); got != tt.want {
			t.Errorf("use %d: %v", i, got)
		}
	}
	q.Add(b)
	a.Release()
	b.Release()
	if q.Used() != 4 || len(f.principals.held) != 2 {
		t.Errorf("%d uses by %d principals", q.Used(), len(f.principals.held))
	}
	for _, p := range []*Principal{a, a, b, b, nil} {
		q.Return(p)
	}
	if q.Used() != 0 || len(q.used) != 0 || len(f.principals.held) != 0 {
		t.Errorf("%d uses by %v are left", q.Used(), q.used)
	}
}
