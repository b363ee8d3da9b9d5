package cgroup

import (
	"os"
	"testing"

	"palisade/internal/linux/cpulist"
)

func TestNodeStats(t *testing.T) {
	v2, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/c/memory.numa_stat": testdata(t, "v2-6.1-numa/memory.numa_stat"),
		v2Dir + "/old/memory.stat":    "",
	})
	v1, _ := tree(t, allV1, map[string]string{
		v1Dir + "memory/c/memory.numa_stat": testdata(t, "v1-6.1-numa/memory.numa_stat"),
	})
	var s Scratch
	nodes := make([]MemoryStat, 2)
	if err := open(t, v2, "/c").NodeStats(nodes, &s); err != nil {
		t.Fatal(err)
	}
	want := []MemoryStat{
		{File: 31457280, Shmem: 31457280, PageTables: 20480, InactiveAnon: 31457280, SlabReclaimable: 87808, SlabUnreclaimable: 4904},
		{Anon: 49152, File: 32505856, Shmem: 32505856, InactiveAnon: 32550912, ActiveAnon: 4096, SlabReclaimable: 100288, SlabUnreclaimable: 24032},
	}
	for i := range want {
		if nodes[i] != want[i] {
			t.Errorf("v2: node %d: got  %+v\nwant %+v", i, nodes[i], want[i])
		}
	}
	// Nodes beyond those of the caller are ignored, and earlier values forgotten.
	if err := open(t, v2, "/c").NodeStats(nodes[1:], &s); err != nil || nodes[1].File != want[0].File {
		t.Errorf("one node: %+v, %v", nodes[1], err)
	}
	if err := open(t, v2, "/old").NodeStats(nodes, &s); err != nil || nodes[0] != (MemoryStat{}) {
		t.Errorf("without the file: %+v, %v", nodes[0], err)
	}
	if err := open(t, v1, "/c").NodeStats(nodes, &s); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		if n.Anon != uint64([]int{7693, 7936}[i]*os.Getpagesize()) || n.ActiveAnon != n.Anon || n.FileMapped != n.File || n.Slab != 0 {
			t.Errorf("v1: node %d: %+v", i, n)
		}
	}
}

func TestMemoryNodes(t *testing.T) {
	v2, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/a/cpuset.mems.effective": "1\n", v2Dir + "/a/b/cgroup.procs": "",
	})
	v1, _ := tree(t, allV1, map[string]string{v1Dir + "cpuset/a/cpuset.effective_mems": "0-1,3\n"})
	for _, tt := range []struct {
		fs         *FS
		path, want string
	}{{v2, "/a", "1"}, {v2, "/a/b", "1"}, {v1, "/a", "0-1,3"}} {
		var set cpulist.Set
		err := open(t, tt.fs, tt.path).MemoryNodes(&set, new(Scratch))
		if err != nil || set.String() != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.path, set, err, tt.want)
		}
	}
}

// FuzzNUMAStat parses any text for a few nodes.
func FuzzNUMAStat(f *testing.F) {
	f.Add([]byte("anon N0=1 N1=2\nfile N0=3\n"))
	f.Add([]byte("hierarchical_anon=3 N0=1 N1=2\nN0=1\nanon N99999999999999999999=1 N-1=2 N0\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		parseNUMAStat(text, make([]MemoryStat, 3), "", statFields)
		parseNUMAStat(text, make([]MemoryStat, 3), "hierarchical_", numaFieldsV1)
	})
}
