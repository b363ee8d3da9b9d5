//go:build !race

package lxcfs

import (
	"testing"

	"palisade/internal/lxcfs/fusedev"
)

// TestReadsDoNotAllocate reads files of a container repeatedly. The race detector allocates.
func TestReadsDoNotAllocate(t *testing.T) {
	f, _, init := newFake(t)
	ids := []uint64{idCpuinfo, idMeminfo, idStat, idUptime, idSwaps, idVmstat}
	for _, file := range []string{
		"cpu/online", "node/online", "node/has_cpu", "node/node1/meminfo", "node/node1/vmstat",
	} {
		id, _ := lookupFake(t, f, "sys/devices/system/"+file, init)
		ids = append(ids, id)
	}
	for _, id := range ids {
		r := fusedev.Request{Node: id, TID: uint32(init)}
		buf := make([]byte, 0, 64<<10)
		read := func() {
			number, _ := f.Open(&r, 0)
			f.Read(&r, number, 0, 4096, buf)
			f.Release(&r, number)
		}
		// A read allocates if a snapshot of the host's file is too old: on a slow machine, many do.
		least := testing.AllocsPerRun(1, read)
		for range 100 {
			least = min(least, testing.AllocsPerRun(1, read))
		}
		if least > 0 {
			t.Errorf("node %d: %v allocations", id, least)
		}
	}
}
