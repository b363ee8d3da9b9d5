package cgroup

import (
	"testing"
)

// eventsOf returns the events that are not 0, by key.
func eventsOf(events *Events) map[string]uint64 {
	found := make(map[string]uint64)
	for e, n := range events {
		if n != 0 {
			found[Event(e).String()] = n
		}
	}
	return found
}

func wantEvents(t *testing.T, events *Events, want map[string]uint64) {
	t.Helper()
	got := eventsOf(events)
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s: got %d, want %d", key, got[key], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestEvents parses memory.stat: pgpgin and pgpgout of v1 are not those of /proc/vmstat, and of
// kernels with single values the sums are not used.
func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, text, prefix string
		want               map[string]uint64
	}{
		{"v1 4.19", testdata(t, "v1-4.19/memory.stat"), "total_", map[string]uint64{
			"pgfault": 20658, "pgmajfault": 66,
		}},
		{"v1 6.18", testdata(t, "v1-6.18/memory.stat"), "total_", map[string]uint64{
			"pgfault": 591, "pgmajfault": 2, "workingset_refault_file": 53,
		}},
		{"v2 5.10", testdata(t, "v2-5.10/memory.stat"), "", map[string]uint64{
			"pgfault": 99999, "pgmajfault": 5, "workingset_refault_file": 12, "thp_fault_alloc": 1,
		}},
		{"before 6.0", "pgscan 7\npgsteal 5\npgrefill 3\n", "", map[string]uint64{
			"pgscan_direct": 7, "pgsteal_direct": 5, "pgrefill": 3,
		}},
		{"since 6.0", "pgscan 7\npgsteal 5\npgscan_kswapd 3\npgscan_direct 4\npgsteal_kswapd 5\npgsteal_direct 0\n", "",
			map[string]uint64{"pgscan_kswapd": 3, "pgscan_direct": 4, "pgsteal_kswapd": 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m MemoryStat
			m.parse([]byte(tt.text), tt.prefix)
			wantEvents(t, &m.Events, tt.want)
		})
	}
}

func TestOOMKills(t *testing.T) {
	v1, _ := tree(t, allV1, map[string]string{
		v1Dir + "memory/c/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		v1Dir + "memory/old/memory.stat":      "",
	})
	v2, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/c/memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 4\noom_group_kill 0\n",
		v2Dir + "/old/memory.stat": "",
	})
	for _, tt := range []struct {
		name, path string
		fs         *FS
		want       uint64
	}{{"v1", "/c", v1, 3}, {"v2", "/c", v2, 4}, {"v1 without the file", "/old", v1, 0}, {"v2 without the file", "/old", v2, 0}} {
		if got, err := open(t, tt.fs, tt.path).OOMKills(new(Scratch)); got != tt.want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}
