package cgroup

import (
	"reflect"
	"testing"
)

// memoryV1Files returns the memory files of the v1 cgroup /c.
func memoryV1Files(stat, usage, both, swappiness string) map[string]string {
	dir := v1Dir + "memory/c/"
	files := map[string]string{dir + "memory.stat": stat, dir + "memory.usage_in_bytes": usage + "\n"}
	if both != "" {
		files[dir+"memory.memsw.usage_in_bytes"] = both + "\n"
		files[dir+"memory.swappiness"] = swappiness + "\n"
	}
	return files
}

func TestMemoryV1(t *testing.T) {
	limits := func(memory, both string) string {
		return "cache 1\nhierarchical_memory_limit " + memory + "\nhierarchical_memsw_limit " + both +
			"\ntotal_cache 7\n"
	}
	const max4k, max64k = "9223372036854771712", "9223372036854710272" // with pages of 4 and 64 KiB
	cache := MemoryStat{File: 7}
	tests := []struct {
		name  string
		files map[string]string
		want  Memory
	}{
		{
			"4.19", memoryV1Files(testdata(t, "v1-4.19/memory.stat"), "50000000", "50409600", "60"),
			Memory{
				Limit: 268435456, Usage: 50000000,
				Swap: Swap{Accounted: true, Limit: 268435456, Usage: 409600},
				Stat: MemoryStat{
					File: 41498240, Anon: 6271552, AnonTHP: 2097152, Shmem: 135168,
					FileMapped: 7839744, FileDirty: 4096, FileWriteback: 8192,
					InactiveAnon: 131072, ActiveAnon: 6275648, InactiveFile: 33195648,
					ActiveFile: 8167424,
				},
			},
		},
		{
			"6.18", memoryV1Files(testdata(t, "v1-6.18/memory.stat"), "22831104", "22831104", "60"),
			Memory{
				Limit: 67108864, Usage: 22831104, Swap: Swap{Accounted: true, Limit: 67108864},
				Stat: MemoryStat{
					File: 21192704, Anon: 249856, FileMapped: 147456, FileDirty: 20975616,
					InactiveAnon: 126976, ActiveAnon: 4096, InactiveFile: 21184512,
					ActiveFile: 8192,
				},
			},
		},
		{
			"no limit", memoryV1Files(limits(max4k, max4k), "5", "8", "60"),
			Memory{NoLimit, 5, cache, Swap{Accounted: true, Limit: NoLimit, Usage: 3}, nil},
		},
		{
			"no limit with pages of 64 KiB", memoryV1Files(limits(max64k, max64k), "5", "8", "60"),
			Memory{NoLimit, 5, cache, Swap{Accounted: true, Limit: NoLimit, Usage: 3}, nil},
		},
		{
			"a limit of 0 is none", memoryV1Files(limits("0", "0"), "5", "5", "60"),
			Memory{NoLimit, 5, cache, Swap{Accounted: true, Limit: NoLimit}, nil},
		},
		{
			"only memory is limited", memoryV1Files(limits("1000", max4k), "5", "5", "60"),
			Memory{1000, 5, cache, Swap{Accounted: true, Limit: NoLimit}, nil},
		},
		{
			"less with swap than without", memoryV1Files(limits("1000", "900"), "50", "40", "60"),
			Memory{1000, 50, cache, Swap{Accounted: true}, nil},
		},
		{
			"swappiness 0", memoryV1Files(limits("1000", "5000"), "50", "70", "0"),
			Memory{1000, 50, cache, Swap{Accounted: true, Limit: 20, Usage: 20}, nil},
		},
		{
			"swap is not accounted",
			memoryV1Files("hierarchical_memory_limit 1000\ntotal_cache 7\n", "50", "", ""),
			Memory{Limit: 1000, Usage: 50, Stat: cache},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, allV1, tt.files)
			var got Memory
			if err := open(t, fs, "/c").Memory(&got, true, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			got.Stat.Events = Events{} // see TestEvents
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestMemoryV2(t *testing.T) {
	base := MemoryStat{
		Anon: 41943040, File: 20971520, KernelStack: 131072, Percpu: 8192, Shmem: 4096,
		FileMapped: 1351680, FileDirty: 135168, FileWriteback: 4096, AnonTHP: 2097152,
		InactiveAnon: 1000000, ActiveAnon: 40943040, InactiveFile: 15000000, ActiveFile: 5971520,
		Unevictable: 12288, SlabReclaimable: 700000, SlabUnreclaimable: 300000, Slab: 1000000,
	}
	since61 := base
	since61.PageTables, since61.SwapCached = 262144, 8192
	since66 := since61
	since66.SecPageTables, since66.Zswap, since66.Zswapped = 4096, 16384, 65536
	since66.FileTHP = 2097152
	for version, want := range map[string]MemoryStat{
		"5.10": base, "6.1": since61, "6.6": since66, "6.18": since66,
	} {
		t.Run(version, func(t *testing.T) {
			fs, _ := tree(t, v2Mount, map[string]string{
				v2Dir + "/a/b/memory.stat":    testdata(t, "v2-"+version+"/memory.stat"),
				v2Dir + "/a/b/memory.current": "65536000\n",
				v2Dir + "/a/b/memory.max":     "max\n", v2Dir + "/a/memory.max": "104857600\n",
				v2Dir + "/a/b/memory.swap.current": "4096\n",
				v2Dir + "/a/b/memory.swap.max":     "8192000\n",
				v2Dir + "/a/memory.swap.max":       "max\n",
			})
			var got Memory
			if err := open(t, fs, "/a/b").Memory(&got, true, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			got.Stat.Events = Events{}
			all := Memory{
				Limit: 104857600, Usage: 65536000, Stat: want,
				Swap: Swap{Accounted: true, Limit: 8192000, Usage: 4096},
			}
			if !reflect.DeepEqual(got, all) {
				t.Errorf("got  %+v\nwant %+v", got, all)
			}
		})
	}
}

// TestMemoryStatKeys has keys that are prefixes of others.
func TestMemoryStatKeys(t *testing.T) {
	var m MemoryStat
	m.parse([]byte("file_mapped 1\nfile 2\nfile_dirty 3\nslab_reclaimable 4\nanon_thp 5\n"), "")
	want := MemoryStat{FileMapped: 1, File: 2, FileDirty: 3, SlabReclaimable: 4, AnonTHP: 5}
	if m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	m = MemoryStat{}
	m.parse([]byte("cache 9\ntotal_cache 1\ntotal_rss_huge 2\nrss 9\n"), "total_")
	if want := (MemoryStat{File: 1, AnonTHP: 2}); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
}

func TestHugePages(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "1\n",
		"/sys/kernel/mm/hugepages/hugepages-1048576kB/x":         "",
		"/sys/kernel/mm/hugepages/hugepages-64kB/x":              "",
		"/sys/kernel/mm/hugepages/other/x":                       "",
		v2Dir + "/a/b/hugetlb.2MB.current":                       "4194304\n",
		v2Dir + "/a/b/hugetlb.2MB.max":                           "max\n",
		v2Dir + "/a/hugetlb.2MB.max":                             "8388608\n",
		v2Dir + "/a/b/hugetlb.64KB.current":                      "0\n",
		v2Dir + "/a/b/hugetlb.64KB.max":                          "max\n",
	})
	m := Memory{Huge: []HugePages{{PageSize: 1}}}
	if err := open(t, fs, "/a/b").HugePages(&m, new(Scratch)); err != nil {
		t.Fatal(err)
	}
	want := map[HugePages]bool{
		{PageSize: 2 << 20, Limit: 8388608, Usage: 4194304}: true,
		{PageSize: 64 << 10, Limit: NoLimit}:                true,
	}
	if len(m.Huge) != 2 || !want[m.Huge[0]] || !want[m.Huge[1]] {
		t.Errorf("got %+v", m.Huge)
	}
}
