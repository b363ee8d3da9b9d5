package view_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

// sysinfo64 and sysinfo32 are struct sysinfo and compat_sysinfo of the kernel.
type sysinfo64 struct {
	Uptime                                              uint64
	Loads                                               [3]uint64
	TotalRAM, FreeRAM, SharedRAM, BufferRAM, Swap, Free uint64
	Procs, _                                            uint16
	_                                                   uint32
	TotalHigh, FreeHigh                                 uint64
	Unit, _                                             uint32
}

type sysinfo32 struct {
	Uptime                                              uint32
	Loads                                               [3]uint32
	TotalRAM, FreeRAM, SharedRAM, BufferRAM, Swap, Free uint32
	Procs, _                                            uint16
	TotalHigh, FreeHigh                                 uint32
	Unit                                                uint32
	_                                                   [8]byte
}

func TestSysinfo(t *testing.T) {
	const gib = 1 << 30
	for name, tt := range map[string]struct {
		limit uint64
		unit  uint64 // of 32-bit programs
	}{
		"small": {gib, 1}, "large": {8 * gib, 4096},
	} {
		m := &cgroup.Memory{Limit: tt.limit, Usage: tt.limit / 4}
		m.Stat.Shmem = 3 * 4096
		s := view.Sysinfo{Uptime: 77}
		s.SetMemory(sys.Sysinfo{MemTotal: 16 * gib}, m, view.MemOptions{})
		s.SetLoad(view.Load{Avg: [3]uint64{view.LoadOne, 0, 2 * view.LoadOne}, Tasks: view.Tasks{Total: 70000}})
		var wide sysinfo64
		if _, err := binary.Decode(s.Append64(nil), binary.NativeEndian, &wide); err != nil {
			t.Fatal(err)
		}
		want := sysinfo64{Uptime: 77, Loads: [3]uint64{1 << 16, 0, 2 << 16}, TotalRAM: tt.limit,
			FreeRAM: tt.limit / 4 * 3, SharedRAM: 3 * 4096, Procs: 70000 & 0xffff, Unit: 1}
		if wide != want || len(s.Append64(nil)) != int(unsafe.Sizeof(wide)) {
			t.Errorf("%s: got %+v, want %+v", name, wide, want)
		}
		var narrow sysinfo32
		if _, err := binary.Decode(s.Append32(nil), binary.NativeEndian, &narrow); err != nil {
			t.Fatal(err)
		}
		got := []uint64{uint64(narrow.TotalRAM), uint64(narrow.FreeRAM), uint64(narrow.SharedRAM)}
		if wanted := []uint64{want.TotalRAM / tt.unit, want.FreeRAM / tt.unit, want.SharedRAM / tt.unit}; uint64(narrow.Unit) != tt.unit || !slices.Equal(got, wanted) || narrow.Uptime != 77 || narrow.Loads[2] != 2<<16 || len(s.Append32(nil)) != 64 {
			t.Errorf("%s: got %+v, want %v in units of %d", name, narrow, wanted, tt.unit)
		}
	}
}
