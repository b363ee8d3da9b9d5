package ranges

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

const (
	machine1 = "11111111111111111111111111111111"
	machine2 = "22222222222222222222222222222222"
)

// host is a directory that stands for a host.
type host struct {
	root, state string
	*Registry
}

// newHost returns a host with the machine id. state is its state directory.
func newHost(t *testing.T, machine, state string) *host {
	t.Helper()
	h := &host{root: t.TempDir(), state: state}
	h.write(t, "proc/sys/kernel/random/boot_id", "boot1\n")
	h.write(t, "etc/machine-id", machine+"\n")
	h.open(t)
	return h
}

func (h *host) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *host) open(t *testing.T) {
	t.Helper()
	var err error
	h.Registry, err = open(Dirs{State: h.state, Lock: filepath.Join(h.root, "lock"),
		Config: filepath.Join(h.root, "ranges.json")}, h.root)
	if err != nil {
		t.Fatal(err)
	}
}

// bound sets the bounds of the host.
func (h *host) bound(t *testing.T, bounds ...string) { h.Registry.config = writeBounds(t, bounds...) }

// writeBounds writes a configuration file with bounds, and returns its path.
func writeBounds(t testing.TB, bounds ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ranges.json")
	text := `{"bounds":["` + strings.Join(bounds, `","`) + `"]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// process adds a process with a user namespace.
func (h *host) process(t *testing.T, pid int, idMap string) {
	t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	h.write(t, dir+"uid_map", idMap)
	h.write(t, dir+"gid_map", idMap)
	if err := os.Mkdir(filepath.Join(h.root, dir, "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("user:[%d]", pid)
	if err := os.Symlink(link, filepath.Join(h.root, dir, "ns/user")); err != nil {
		t.Fatal(err)
	}
}

func (h *host) container(t *testing.T, id string) *Entry {
	t.Helper()
	q := Request{Registry: h.Registry, Container: Container{id, "/b/" + id}}
	e, err := q.ForContainer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// newTree returns a directory as a tree.
func newTree(t *testing.T) Tree {
	t.Helper()
	path := t.TempDir()
	dir, err := sys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	tree, err := TreeAt(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// uses returns the owners of all entries, each with its use.
func (h *host) uses(t *testing.T) map[string]Use {
	t.Helper()
	listed, err := h.ListStatus()
	if err != nil {
		t.Fatal(err)
	}
	uses := make(map[string]Use)
	for _, l := range listed {
		uses[l.Owner] = l.Use
	}
	return uses
}

// TestForContainer checks the life of a container's range.
func TestForContainer(t *testing.T) {
	h := newHost(t, machine1, t.TempDir())
	first := h.container(t, "web")
	if again := h.container(t, "web"); again.Token != first.Token {
		t.Errorf("a start without a delete: %+v, then %+v", first, again)
	}
	if other := h.container(t, "other"); other.First == first.First {
		t.Errorf("two containers have %+v", first)
	}
	// The same id in another state directory of a runtime.
	q := Request{Registry: h.Registry, Container: Container{"web", "/elsewhere"}}
	twin, err := q.ForContainer(t.Context())
	if err != nil || twin.First == first.First {
		t.Fatalf("twin: %+v, %v", twin, err)
	}
	if err := h.Release(t.Context(), Container{"web", ""}); err != nil || len(h.uses(t)) != 2 {
		t.Errorf("released without a bundle: %v, %v", h.uses(t), err)
	}
	if err := h.Release(t.Context(), Container{"web", "/elsewhere"}); err != nil {
		t.Fatal(err)
	}
	if e, err := h.read(twin.First); e != nil || err != nil {
		t.Errorf("after the release: %+v, %v", e, err)
	}
	h.process(t, 7, fmt.Sprintf("0 %d 65536\n", first.First))
	if err := h.Release(t.Context(), Container{"web", "/b/web"}); err != nil {
		t.Fatal(err)
	}
	if e, _ := h.read(first.First); e == nil {
		t.Error("the range of a process is free")
	}
	if err := os.RemoveAll(filepath.Join(h.root, "proc/7")); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(t.Context(), Container{"web", ""}); err != nil {
		t.Fatal(err)
	}
	if again := h.container(t, "web"); again.First != first.First || again.Token == first.Token {
		t.Errorf("after a restart: %+v, before %+v", again, first)
	}
	for _, id := range []string{"a\xff", "a\n", "a\u2028", strings.Repeat("x", maxOwner+1)} {
		q := Request{Registry: h.Registry, Container: Container{id, "/b"}}
		if e, err := q.ForContainer(t.Context()); err == nil {
			t.Errorf("%q: %+v", id, e)
		}
	}
}

// TestTaken checks that ranges avoid everything that a host takes, and that the error says what
// that is.
func TestTaken(t *testing.T) {
	const block = "1900019712-1900085247"
	for name, take := range map[string]func(h *host){
		"/etc/subuid line 1, \"bob\" has 1900000000-1900100000": func(h *host) {
			h.write(t, "etc/subuid", "bob:1900000000:100001\n")
		},
		"/etc/subgid line 1, \"bob\"": func(h *host) { h.write(t, "etc/subgid", "bob:1900085247:1\n") },
		"/etc/passwd line 1, \"eve\"": func(h *host) { h.write(t, "etc/passwd", "eve:x:1900019712:1::\n") },
		"/etc/group line 1, \"eve\"":  func(h *host) { h.write(t, "etc/group", "eve:x:1900019999:\n") },
		"/etc/login.defs, SUB_UID_MIN to SUB_UID_MAX": func(h *host) {
			h.write(t, "etc/login.defs", "SUB_UID_MIN 100000\nSUB_UID_MAX 2000000000\n")
		},
		"nsswitch.conf: sss": func(h *host) { h.write(t, "etc/nsswitch.conf", "passwd: files sss\n") },
		"uid_map of process 9 has 1900020000-1900020000": func(h *host) {
			h.process(t, 9, "0 1900020000 1\n")
		},
		"1 of 1 blocks are in the registry": func(h *host) { h.container(t, "other") },
	} {
		h := newHost(t, machine1, t.TempDir())
		h.bound(t, block)
		take(h)
		q := Request{Registry: h.Registry, Container: Container{"web", "/b"}}
		e, err := q.ForContainer(t.Context())
		if err == nil || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "no free range of 65536 ids in "+block) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		if _, err := q.Reserve(t.Context(), "x", 1900019712); err == nil {
			t.Errorf("%s: the range can be reserved", name)
		}
	}
	h := newHost(t, machine1, t.TempDir())
	h.bound(t, block)
	h.process(t, 9, "0 0 4294967295\n") // as that of the host
	if e := h.container(t, "web"); e.First != 1900019712 {
		t.Errorf("%+v", e)
	}
}

// TestForTree checks that a tree keeps its range.
func TestForTree(t *testing.T) {
	h := newHost(t, machine1, t.TempDir())
	tree, other := newTree(t), newTree(t)
	q := Request{Registry: h.Registry}
	forTree := func(tree Tree, recorded string) *Entry {
		t.Helper()
		var pair idmap.Pair
		if recorded != "" {
			uid, err := idmap.ParseMap("0:" + recorded)
			if err != nil {
				t.Fatal(err)
			}
			pair = idmap.Pair{UID: uid, GID: uid}
		}
		e, err := q.ForTree(t.Context(), tree, pair)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := forTree(tree, "")
	if again := forTree(tree, ""); again.Token != e.Token {
		t.Errorf("again: %+v, first %+v", again, e)
	}
	if e := forTree(other, "1900019712:65535"); e.First != 1900019712 || e.Size != 65535 {
		t.Errorf("recorded: %+v", e)
	}
	for _, recorded := range []string{"1900019712:65535", "100000:65536", "131072:65536",
		"1900085249:100", "1900085248:65537"} {
		if kept := forTree(tree, recorded); kept.Token != e.Token {
			t.Errorf("recorded %s: %+v", recorded, kept)
		}
	}
	q.DryRun = true
	if e := forTree(newTree(t), ""); e.First == 0 || len(h.uses(t)) != 2 {
		t.Errorf("dry run: %+v, %v", e, h.uses(t))
	}
	q.DryRun = false

	// A tree takes over the range of its container.
	q.Container = Container{"web", "/b/web"}
	mine := h.container(t, "web")
	third := newTree(t)
	taken := forTree(third, fmt.Sprintf("%d:%d", mine.First, mine.Size))
	if taken.First != mine.First || taken.Kind != ForTree {
		t.Errorf("taken over: %+v", taken)
	}
	if err := h.Release(t.Context(), q.Container); err != nil {
		t.Fatal(err)
	}
	if e, err := h.read(mine.First); err != nil || e == nil || e.Kind != ForTree {
		t.Errorf("after the release: %+v, %v", e, err)
	}
	// But not that of another container.
	theirs := h.container(t, "theirs")
	if e := forTree(newTree(t), fmt.Sprintf("%d:%d", theirs.First, theirs.Size)); e.First ==
		theirs.First {
		t.Errorf("taken from another container: %+v", e)
	}
}

// TestCollect checks that only what is unused for certain is freed.
func TestCollect(t *testing.T) {
	state := t.TempDir()
	h, far := newHost(t, machine1, state), newHost(t, machine2, state)
	h.container(t, "runs")
	h.container(t, "lost")
	h.container(t, "process")
	far.container(t, "far")
	kept := newTree(t)
	q := Request{Registry: h.Registry}
	if _, err := q.ForTree(t.Context(), kept, idmap.Pair{}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Reserve(t.Context(), "mine", 0); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"lost", "process"} {
		if id == "process" {
			h.process(t, 5, fmt.Sprintf("0 %d 1\n", h.recorded(Container{id, "/b/" + id}).First+9))
		}
		if err := os.RemoveAll(filepath.Join(h.root, "lock/containers", id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("of another format", h.path(131072)); err != nil {
		t.Fatal(err)
	}
	want := map[string]Use{"runs": Used, "lost": Unused, "process": Used, "far": Unknown,
		kept.Path: Used, "mine": Used, "": Unknown}
	for owner, use := range h.uses(t) {
		if want[owner] != use {
			t.Errorf("%s is %s, want %s", owner, use, want[owner])
		}
	}
	freed, err := h.Collect(t.Context())
	if err != nil || len(freed) != 1 || freed[0].Owner != "lost" {
		t.Errorf("freed %+v, %v", freed, err)
	}
	h.write(t, "proc/sys/kernel/random/boot_id", "boot2\n")
	h.open(t)
	if freed, err := h.Collect(t.Context()); err != nil || len(freed) != 1 ||
		freed[0].Owner != "runs" {
		t.Errorf("after a boot: %+v, %v", freed, err)
	}
	if len(h.uses(t)) != 5 {
		t.Errorf("left: %v", h.uses(t))
	}
}

// TestCollectFull checks that a full registry is collected.
func TestCollectFull(t *testing.T) {
	h := newHost(t, machine1, t.TempDir())
	h.bound(t, "1900019712-1900150783")
	for _, id := range []string{"a", "b"} {
		h.container(t, id)
	}
	if err := os.RemoveAll(filepath.Join(h.root, "lock/containers/a")); err != nil {
		t.Fatal(err)
	}
	h.container(t, "c")
	uses := h.uses(t)
	if _, ok := uses["a"]; ok || len(uses) != 2 {
		t.Errorf("%v", uses)
	}
}

// TestFree checks what an administrator may free.
func TestFree(t *testing.T) {
	h := newHost(t, machine1, t.TempDir())
	e := h.container(t, "web")
	if _, err := h.Free(t.Context(), e.First, false); err == nil ||
		!strings.Contains(err.Error(), "container web is not free: the container is not deleted") {
		t.Errorf("in use: %v", err)
	}
	if _, err := h.Free(t.Context(), e.First, true); err != nil {
		t.Error(err)
	}
	if _, err := h.Free(t.Context(), e.First, true); err == nil {
		t.Error("freed twice")
	}
	q := Request{Registry: h.Registry}
	e, err := q.Reserve(t.Context(), "mine", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Reserve(t.Context(), "other", e.First); err == nil ||
		!strings.Contains(err.Error(), "taken by reserved mine") {
		t.Errorf("reserved twice: %v", err)
	}
	if _, err := h.Free(t.Context(), e.First, false); err != nil {
		t.Error(err)
	}
	if len(h.uses(t)) != 0 {
		t.Errorf("left: %v", h.uses(t))
	}
}

// TestConflict checks that list finds ids that were given to others after the allocation.
func TestConflict(t *testing.T) {
	h := newHost(t, machine1, t.TempDir())
	e := h.container(t, "web")
	h.write(t, "etc/subuid", fmt.Sprintf("0:%d:65536\n", e.First)) // by lcr
	if listed, err := h.ListStatus(); err != nil || listed[0].Conflict != "" {
		t.Errorf("%+v, %v", listed, err)
	}
	h.write(t, "etc/subuid", fmt.Sprintf("bob:%d:1\n", e.First+65535))
	listed, err := h.ListStatus()
	if err != nil || len(listed) != 1 || !strings.Contains(listed[0].Conflict, `"bob"`) {
		t.Errorf("%+v, %v", listed, err)
	}
}

// TestConcurrent checks that starts on two hosts with one registry get distinct ranges, also while
// ranges are released and collected.
func TestConcurrent(t *testing.T) {
	state := t.TempDir()
	hosts := []*host{newHost(t, machine1, state), newHost(t, machine2, state)}
	var group sync.WaitGroup
	var mu sync.Mutex
	owners := make(map[uint32]string)
	for n := range 200 {
		group.Go(func() {
			h, id := hosts[n%2], fmt.Sprintf("c%d", n)
			c := Container{id, "/b"}
			q := Request{Registry: h.Registry, Container: c}
			for range 5 {
				e, err := q.ForContainer(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other := owners[e.First]; other != "" {
					t.Errorf("%s and %s have %s", other, id, e.Remap())
				}
				owners[e.First] = id
				mu.Unlock()
				if n%10 == 0 {
					if _, err := h.Collect(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if n%3 == 0 {
					return // keeps it
				}
				mu.Lock()
				delete(owners, e.First)
				mu.Unlock()
				if err := h.Release(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	entries, err := hosts[0].List()
	if err != nil || len(entries) != len(owners) {
		t.Errorf("%d entries, %d owners, %v", len(entries), len(owners), err)
	}
}

// TestLongOwner checks that an entry of a tree fits into a symbolic link of XFS.
func TestLongOwner(t *testing.T) {
	h := newHost(t, strings.Repeat("f", 32), t.TempDir())
	h.boot = strings.Repeat("b", 36)
	for _, path := range []string{strings.Repeat("/<é", 1500), strings.Repeat("/\x01\\", 1500)} {
		tree := Tree{Path: path, FileSystem: strings.Repeat("0", 32), Handle: make([]byte, 132)}
		q := Request{Registry: h.Registry}
		e, err := q.ForTree(t.Context(), tree, idmap.Pair{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.Readlink(h.path(e.First))
		if there, _ := h.read(e.First); err != nil || len(text) > 1023 || there.Token != e.Token {
			t.Errorf("%d bytes: %s %v", len(text), text, err)
		}
	}
}
