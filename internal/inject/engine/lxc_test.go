package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"palisade/internal/linux/sys"
)

// lxcTree is a directory that stands for /proc, with the init of a container and its parent.
type lxcTree struct {
	cgroup, inside string // of the init
	command        string // of the parent, words separated by blanks; empty if the parent is pid 1
	uids           string // of the parent, those of creator if empty
	creator        uint32
	inspectError   error
}

const (
	lxcInit    = 4711
	lxcMonitor = 4700
)

func (tree *lxcTree) options(t testing.TB) *Options {
	proc := t.TempDir()
	parent := 1
	if tree.command != "" {
		parent = lxcMonitor
		uids := tree.uids
		if uids == "" {
			uids = fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", tree.creator)
		}
		dir := filepath.Join(proc, fmt.Sprint(lxcMonitor))
		write(t, filepath.Join(dir, "status"), "Name:\tlxc-start\nPPid:\t1\nUid:\t"+uids+"\n")
		write(t, filepath.Join(dir, "cmdline"), tree.command+"\x00")
	}
	init := filepath.Join(proc, fmt.Sprint(lxcInit))
	status := "Name:\tsystemd\nPPid:\t%d\nUid:\t100000\t100000\t100000\t100000\nNSpid:\t%d\t1\n"
	write(t, filepath.Join(init, "status"), fmt.Sprintf(status, parent, lxcInit))
	stat := "%d (systemd) S %d 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234 5 6\n"
	write(t, filepath.Join(init, "stat"), fmt.Sprintf(stat, lxcInit, parent))
	write(t, filepath.Join(init, "cgroup"), tree.cgroup)
	inspect := func(sys.File) ([]byte, error) { return []byte(tree.inside), tree.inspectError }
	return &Options{
		Proc: proc, Inits: []Init{{PID: lxcInit, Creator: tree.creator, Inspect: inspect}},
	}
}

// v1 returns the text of /proc/<pid>/cgroup with cgroup v1 as systemd mounts it, where only systemd
// uses v2.
func v1(path string) string {
	var b strings.Builder
	for i, name := range []string{
		"freezer", "devices", "net_cls,net_prio", "perf_event", "hugetlb", "blkio", "cpuset", "memory",
		"cpu,cpuacct", "pids", "rdma", "name=systemd",
	} {
		fmt.Fprintf(&b, "%d:%s:%s\n", 12-i, name, path)
	}
	return b.String()
}

// TestFindLXC finds containers by the cgroups and command lines of liblxc 3.0 to 6.0, Incus, LXD
// and Proxmox VE.
func TestFindLXC(t *testing.T) {
	for name, tt := range map[string]struct {
		tree lxcTree
		id   string
		want string // the engine
	}{
		"LXC, v2": {lxcTree{
			cgroup: "0::/lxc.payload.b1\n", inside: "0::/\n",
			command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"LXC, v1": {lxcTree{
			cgroup: v1("/lxc.payload.b1"), inside: v1("/"),
			command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"LXC, hybrid": {lxcTree{
			cgroup: v1("/lxc.payload.b1") + "0::/lxc.payload.b1\n", inside: v1("/") + "0::/\n",
			command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"not on v2": {lxcTree{
			cgroup: v1("/lxc.payload.b1") + "0::/system.slice/lxc.service\n",
			inside: v1("/") + "0::/\n",
		}, "b1", "lxc"},
		"LXC 3.0": {lxcTree{
			cgroup: v1("/lxc/b1"), inside: v1("/"), command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"LXC 3.1": {lxcTree{
			cgroup: v1("/lxc.payload/b1"), inside: v1("/"),
			command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"pattern": {lxcTree{cgroup: "0::/lxc/b1/payload\n", inside: "0::/\n"}, "b1", "lxc"},
		"lxc.cgroup.dir": {lxcTree{
			cgroup: "0::/site/lxc.payload.b1\n", inside: "0::/\n",
		}, "b1", "lxc"},
		"systemd inside": {lxcTree{
			cgroup: "0::/lxc.payload.b1/init.scope\n", inside: "0::/init.scope\n",
		}, "b1", "lxc"},
		"shared cgroup": {lxcTree{cgroup: "0::/lxc.payload.b1\n"}, "b1", "lxc"},
		"no monitor":    {lxcTree{cgroup: "0::/lxc.payload.b1-1\n", inside: "0::/\n"}, "b1-1", "lxc"},
		"second cgroup": {lxcTree{
			cgroup: "0::/lxc.payload.b1-1\n", inside: "0::/\n",
			command: "[lxc monitor] /var/lib/lxc b1",
		}, "b1", "lxc"},
		"number in name": {lxcTree{
			cgroup: "0::/lxc.payload.b1-1\n", inside: "0::/\n",
			command: "[lxc monitor] /var/lib/lxc b1-1",
		}, "b1-1", "lxc"},
		"foreground": {lxcTree{
			cgroup: "0::/lxc.payload.b1-2\n", inside: "0::/\n",
			command: "lxc-start\x00-F\x00-n\x00b1",
		}, "b1", "lxc"},
		"dots": {lxcTree{
			cgroup: "0::/lxc.payload.lxc.monitor.x\n", inside: "0::/\n",
		}, "lxc.monitor.x", "lxc"},
		"Incus": {lxcTree{
			cgroup: "0::/lxc.payload.c1\n", inside: "0::/\n",
			command: "[lxc monitor] /var/lib/incus/containers c1",
		}, "c1", "incus"},
		"Incus, project": {lxcTree{
			cgroup: "0::/lxc.payload.web_c1/init.scope\n", inside: "0::/init.scope\n",
			command: "[lxc monitor] /var/lib/incus/containers web_c1",
		}, "web_c1", "incus"},
		"LXD, snap": {lxcTree{
			cgroup: "0::/lxc.payload.web_c1\n", inside: "0::/\n",
			command: "[lxc monitor] /var/snap/lxd/common/lxd/containers web_c1",
		}, "web_c1", "lxd"},
		"LXD, v1": {lxcTree{
			cgroup: v1("/lxc.payload.c1"), inside: v1("/"),
			command: "[lxc monitor] /var/lib/lxd/containers c1",
		}, "c1", "lxd"},
		"Proxmox": {lxcTree{
			cgroup: "0::/lxc/100/ns\n", inside: "0::/\n",
			command: "/usr/bin/lxc-start\x00-F\x00-n\x00100",
		}, "100", "proxmox"},
		"Proxmox, init": {lxcTree{
			cgroup: "0::/lxc/100/ns/init.scope\n", inside: "0::/init.scope\n",
			command: "/usr/bin/lxc-start\x00-F\x00-n\x00100",
		}, "100", "proxmox"},
		"Proxmox, v1": {lxcTree{
			cgroup: v1("/lxc/100/ns") + "0::/lxc/100/ns\n", inside: v1("/") + "0::/\n",
		}, "100", "proxmox"},
		"a name's number": {lxcTree{
			cgroup: "0::/lxc/100\n", inside: "0::/\n", command: "[lxc monitor] /var/lib/lxc 100",
		}, "100", "lxc"},

		"a user's": {lxcTree{
			cgroup: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope/lxc.payload.b1\n",
			inside: "0::/\n", creator: 1000,
			command: "[lxc monitor] /home/alice/.local/share/lxc b1",
		}, "1000/b1", "lxc"},
		"a user's with Incus's path": {lxcTree{
			cgroup: "0::/user.slice/lxc.payload.b1\n", inside: "0::/\n", creator: 1000,
			command: "[lxc monitor] /home/a/incus/containers b1",
		}, "1000/b1", "incus"},
		"adopted by a user": {lxcTree{
			cgroup: "0::/lxc.payload.b1-1\n", inside: "0::/\n",
			command: "[lxc monitor] /home/a/incus/containers b1", uids: "1000 1000 1000 1000",
		}, "b1-1", "lxc"},
		"adopted by a set-uid program": {lxcTree{
			cgroup: "0::/lxc.payload.b1-1\n", inside: "0::/\n",
			command: "[lxc monitor] /home/a/incus/containers b1", uids: "1000 0 0 0",
		}, "b1-1", "lxc"},

		"made by the container": {lxcTree{
			cgroup: "0::/machine.slice/machine-x.scope/payload/lxc.payload.b1\n",
			inside: "0::/lxc.payload.b1\n",
		}, "", ""},
		"made by an LXC container": {lxcTree{
			cgroup: "0::/lxc.payload.b2/lxc.payload.b1\n", inside: "0::/lxc.payload.b1\n",
		}, "b2", "lxc"},
		"namespace of the root cgroup": {lxcTree{
			cgroup: "0::/lxc.payload.b1\n", inside: "0::/lxc.payload.b1\n",
		}, "", ""},
		"Docker": {lxcTree{
			cgroup: "0::/system.slice/docker-0123.scope\n", inside: "0::/\n",
		}, "", ""},
		"a monitor": {lxcTree{cgroup: "0::/lxc.monitor.b1\n", inside: "0::/\n"}, "", ""},
		"a service": {lxcTree{cgroup: "0::/system.slice/lxc.service\n"}, "", ""},
		"no name":   {lxcTree{cgroup: "0::/lxc.payload.\n0::/lxc/\n0::/lxc\n"}, "", ""},
		"root":      {lxcTree{cgroup: "0::/\n"}, "", ""},
		"nothing":   {lxcTree{}, "", ""},
	} {
		found, err := tt.tree.options(t).findLXC(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got, want []Container
		for _, f := range found {
			got = append(got, f.Container)
		}
		if tt.id != "" {
			names := []string{tt.id[strings.Index(tt.id, "/")+1:]}
			want = []Container{
				{ID: tt.id, Names: names, Engine: tt.want, PID: lxcInit, Creator: tt.tree.creator},
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// TestFindLXCSkips ignores a process that has ended, and reports one that cannot be inspected.
func TestFindLXCSkips(t *testing.T) {
	tree := lxcTree{cgroup: "0::/lxc.payload.b1\n", inspectError: errors.New("no access")}
	found, err := tree.options(t).findLXC(t.Context())
	if len(found) != 0 || err == nil || err.Error() != "process 4711: no access" {
		t.Errorf("got %+v, %v", found, err)
	}
	o := tree.options(t)
	o.Inits[0].PID = 4712
	if found, err := o.findLXC(t.Context()); len(found) != 0 || err != nil {
		t.Errorf("ended: got %+v, %v", found, err)
	}
}

// TestFindLXCRootsFirst finds a container of root before the time is up, though a user has more.
func TestFindLXCRootsFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tree := lxcTree{cgroup: "0::/lxc.payload.b1\n"}
	o := tree.options(t)
	users := Init{PID: 1, Creator: 1000, Inspect: func(sys.File) ([]byte, error) {
		t.Error("a user's container is inspected")
		return nil, nil
	}}
	o.Inits[0].Inspect = func(sys.File) ([]byte, error) { cancel(); return nil, nil }
	o.Inits = []Init{users, o.Inits[0], users}
	found, err := o.findLXC(ctx)
	if len(found) != 1 || found[0].ID != "b1" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", found, err)
	}
}

// TestFindLXCLast prefers what a runtime knows to the name of a cgroup.
func TestFindLXCLast(t *testing.T) {
	tree := lxcTree{cgroup: "0::/lxc.payload.b1\n"}
	o := tree.options(t)
	lxc, err := o.findLXC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ known, want Container }{
		{
			Container{ID: "web", Engine: "runc", PID: lxcInit},
			Container{ID: "web", Engine: "runc", PID: lxcInit},
		}, {
			Container{ID: "b1", PID: lxcInit},
			Container{ID: "b1", Names: []string{"b1"}, Engine: "lxc", PID: lxcInit},
		},
	} {
		got := merge(o.Proc, append([]finding{{Container: tt.known}}, lxc...))
		if !reflect.DeepEqual(got, []Container{tt.want}) {
			t.Errorf("%+v: got %+v, want %+v", tt.known, got, tt.want)
		}
	}
}
