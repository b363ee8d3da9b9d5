package toolkit

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"palisade/internal/inject/engine"
	"palisade/internal/linux/sys"
)

// TestAssign assigns namespaces to a container with a service in a mount namespace of its own and
// with a nested container, to a container with the host's mounts and to one that has ended. One
// mount namespace belongs to none of them.
func TestAssign(t *testing.T) {
	dir := t.TempDir()
	for pid, p := range map[int]process{10: {mnt: 100, pid: 200}, 20: {mnt: 1, pid: 201}} {
		ns := filepath.Join(dir, fmt.Sprint(pid), "ns")
		if err := os.MkdirAll(ns, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, inode := range map[string]uint64{"mnt": p.mnt, "pid": p.pid} {
			link := fmt.Sprintf("%s:[%d]", name, inode)
			if err := os.Symlink(link, filepath.Join(ns, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	proc, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	s := &scanned{
		proc: proc, own: process{mnt: 1, pid: 2},
		mounts: map[uint64]*mountNamespace{
			100: {inode: 100, pidNS: 200, pids: []int{10, 11}},
			101: {inode: 101, pidNS: 200, pids: []int{13}},
			102: {inode: 102, pidNS: 203, pids: []int{12}},
			103: {inode: 103, pidNS: 2, pids: []int{40}},
		},
		pids: map[uint64]*pidNamespace{
			200: {parent: 2, init: 10}, 201: {parent: 2, init: 20},
			202: {parent: 200}, 203: {parent: 202, init: 12}, 204: {init: 50},
		},
	}
	var inits []int
	for _, init := range s.inits() {
		inits = append(inits, init.PID)
	}
	if slices.Sort(inits); !slices.Equal(inits, []int{10, 20, 50}) {
		t.Errorf("inits %d", inits)
	}
	got := assign(s, []engine.Container{
		{ID: "b1", Engine: "lxc", PID: 10}, {ID: "host", PID: 20}, {ID: "ended", PID: 30},
	})
	want := []*target{
		{
			Container: engine.Container{ID: "b1", Engine: "lxc", PID: 10},
			namespaces: []namespace{
				{inode: 100, pids: []int{10, 10, 11}, full: true, isLXC: true},
				{inode: 102, pids: []int{12}, nested: true, isLXC: true},
				{inode: 101, pids: []int{13}, nested: true, full: true, isLXC: true},
			},
		},
		{Container: engine.Container{ID: "host", PID: 20}, hostMounts: true},
		{Container: engine.Container{ID: "ended", PID: 30}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if left := slices.Collect(maps.Keys(s.mounts)); !slices.Equal(left, []uint64{103}) {
		t.Errorf("mount namespaces %d are left, want 103", left)
	}
}
