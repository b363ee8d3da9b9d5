package lxcfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fakehost"
)

// TestCountsRest requests counts for one principal in a loop: no two may run at once, and a pause
// follows each.
func TestCountsRest(t *testing.T) {
	var p, other container.Principal
	const now = time.Hour
	if !mayCount(&p, now, countTime) {
		t.Fatal("the first count is refused")
	}
	if mayCount(&p, now+countTime, countTime) {
		t.Error("two counts at once")
	}
	if !mayCount(&other, now, countTime) {
		t.Error("the count of another principal is refused")
	}
	if !mayCount(&p, now+pauseFactor*countTime, countTime) {
		t.Error("no count after the pause")
	}
}

// TestLastPIDIsKept checks that the last pid of a container does not decrease with the next worker,
// if the process that had it has ended.
func TestLastPIDIsKept(t *testing.T) {
	f, h, init := newFake(t)
	newest := h.Start(fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: "14", Cgroup: "/a"})
	h.Write("cgroup/a/cgroup.threads", fmt.Sprintln(init)+fmt.Sprintln(newest))
	const want = "\nprocesses 14\n"
	if got := readFake(t, f, idStat, init); !strings.Contains(got, want) {
		t.Fatalf("stat %q lacks %q", got, want)
	}
	h.End(newest)
	h.Write("cgroup/a/cgroup.threads", fmt.Sprintln(init))
	next, err := New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	next.kept = f.kept
	if got := readFake(t, next, idStat, init); !strings.Contains(got, want) {
		t.Errorf("stat of the next worker %q lacks %q", got, want)
	}
}

// TestTimeNamespace reads the files that show CLOCK_BOOTTIME, in a time namespace that moves it, and
// in one that does not, which are a container's and have none.
func TestTimeNamespace(t *testing.T) {
	h, init := newFakeHost(t)
	start := func(ns, children string, offset int, own fakehost.Process) int {
		own.TimeNS, own.ChildTimeNS, own.BootOffset = ns, children, offset
		return h.Start(own)
	}
	inside := fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: "7", Cgroup: "/a", Start: 500}
	root := fakehost.Process{PIDNS: "b", MountNS: "b", NSPids: "1", Cgroup: "/b", Start: 100}
	for name, text := range containerFiles {
		h.Write("cgroup/b/"+name, text)
	}
	boot := sys.SinceBoot().Seconds()
	later, latest := int(boot/3), int(boot/2) // a machine for tests has been up for a minute only
	moved := start("b", "b", -latest, root)
	unshared := start("b", "c", 7, fakehost.Process{
		PIDNS: "b", MountNS: "b", NSPids: "8", Cgroup: "/b", Start: 500,
	})
	f := newFakeFS(t, h)
	btime := func(offset int) string { return strconv.Itoa(1700000000 + offset) }
	for name, tt := range map[string]struct {
		tid    int
		uptime float64
		btime  string
	}{
		"no time namespace":              {init, boot, "1700000000"},
		"without offset":                 {start("a", "a", 0, inside), boot, "1700000000"},
		"with an offset":                 {start("a", "a", -later, inside), boot - float64(later), btime(later)},
		"unshared for children":          {start("", "a", -later, inside), boot, "1700000000"},
		"the init":                       {moved, boot - float64(latest), btime(latest)},
		"unshared once more":             {unshared, boot - float64(latest), btime(latest)},
		"unknown":                        {start("c", "a", -later, inside), boot, "1700000000"},
		"of the host, with an offset":    {start("c", "c", -456, fakehost.Process{}), 123000.78, "1700000456"},
		"of the host, without an offset": {start("c", "c", 0, fakehost.Process{}), 123456.78, "1700000000"},
	} {
		var uptime float64
		text := readFake(t, f, idUptime, tt.tid)
		if _, err := fmt.Sscan(text, &uptime); err != nil || uptime < tt.uptime-1 || uptime > tt.uptime+60 {
			t.Errorf("%s: uptime %q, want %.2f", name, text, tt.uptime)
		}
		if got := readFake(t, f, idStat, tt.tid); !strings.Contains(got, "\nbtime "+tt.btime+"\n") {
			t.Errorf("%s: stat %q lacks btime %s", name, got, tt.btime)
		}
	}
}

// TestNoTimeNamespaces reads the files on a kernel before Linux 5.6.
func TestNoTimeNamespaces(t *testing.T) {
	h, init := newFakeHost(t)
	for _, pid := range []int{os.Getpid(), init} {
		for _, name := range []string{"ns/time", "ns/time_for_children", "timens_offsets"} {
			if err := os.Remove(filepath.Join(h.Dir, "proc", strconv.Itoa(pid), name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := newFakeFS(t, h)
	if got := readFake(t, f, idStat, init); !strings.Contains(got, "\nbtime 1700000000\nprocesses 1\n") {
		t.Errorf("stat: %q", got)
	}
	if got := readFake(t, f, idUptime, init); strings.Contains(got, "400000.00") {
		t.Errorf("uptime is the host's: %q", got)
	}
}
