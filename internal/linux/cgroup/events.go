package cgroup

import (
	"errors"
	"slices"
)

// Event is a kind of memory event that the kernel counts for a cgroup, and in /proc/vmstat for the
// machine.
type Event int

// Only these events are not in memory.stat.
const (
	// PageIn and PageOut are kB read from and written to disks, which Group.IO counts.
	PageIn Event = iota
	PageOut
	// OOMKill is a task killed by the OOM killer, see Group.OOMKills.
	OOMKill
	firstInStat
)

// Events holds the number of events since the cgroup was created. Those that the kernel does not
// count for cgroups are 0.
type Events [NumEvents]uint64

// eventNames holds the keys of the events in /proc/vmstat. memory.stat has the same, but on v1
// pgpgin and pgpgout are something else there: pages charged and uncharged.
var eventNames = [...]string{
	PageIn: "pgpgin", PageOut: "pgpgout", OOMKill: "oom_kill",
	firstInStat: "pgfault", "pgmajfault", "pswpin", "pswpout",
	"pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged", "pgscan_proactive",
	"pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive",
	"pgrefill", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed",
	"workingset_refault", "workingset_refault_anon", "workingset_refault_file",
	"workingset_activate", "workingset_activate_anon", "workingset_activate_file",
	"workingset_restore", "workingset_restore_anon", "workingset_restore_file",
	"workingset_nodereclaim", "swpin_zero", "swpout_zero", "zswpin", "zswpout", "zswpwb",
	"thp_fault_alloc", "thp_collapse_alloc", "thp_swpout", "thp_swpout_fallback",
	"numa_pages_migrated", "numa_pte_updates", "numa_hint_faults", "pgpromote_success",
	"pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive",
}

// NumEvents is the number of kinds of events.
const NumEvents = Event(len(eventNames))

var (
	scanDirect  = Event(slices.Index(eventNames[:], "pgscan_direct"))
	stealDirect = Event(slices.Index(eventNames[:], "pgsteal_direct"))
)

// String returns the key of the event in /proc/vmstat.
func (e Event) String() string { return eventNames[e] }

// OOMKills returns the number of tasks of the cgroup that the OOM killer has killed, on v2 with
// those of its descendants.
func (g *Group) OOMKills(s *Scratch) (uint64, error) {
	chain := g.chain("memory")
	if len(chain) == 0 {
		return 0, wrap("read OOM kills", ErrNoController)
	}
	text, err := chain[0].read(fileMemoryEvents, s)
	if errors.Is(err, errMissing) {
		return 0, nil // a v2 cgroup without the controller
	}
	for key, n := range keyNumbers(text) {
		if string(key) == OOMKill.String() {
			return n, err
		}
	}
	return 0, wrap("read OOM kills", err)
}
