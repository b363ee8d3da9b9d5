package lxcfs

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
