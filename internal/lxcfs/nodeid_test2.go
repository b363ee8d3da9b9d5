package lxcfs

import (
	"math"
	"strconv"
	"testing"
)

// TestContainerNode makes sure that an id says all of its node, and is taken for no other kind of node.
func TestContainerNode(t *testing.T) {
	seen := map[uint64]containerNode{idContainers: {}}
	for _, pid := range []int{1, 2, 4711, maxPID} {
		for _, start := range []uint32{0, 1, math.MaxUint32} {
			for _, file := range []uint64{0, idCpuinfo, idSlabinfo} {
				n := containerNode{pid: pid, start: start, file: file}
				id := n.id()
				if got, ok := parseContainerNode(id); !ok || got != n {
					t.Errorf("%+v becomes %#x, and that %+v, %v", n, id, got, ok)
				}
				if other, ok := seen[id]; ok {
					t.Errorf("%+v and %+v have the same id", n, other)
				}
				seen[id] = n
				if !isContainers(id) || isCPUDir(id) {
					t.Errorf("%+v is of the containers %v, of the CPUs %v", n, isContainers(id), isCPUDir(id))
				}
			}
		}
	}
	for _, n := range nodes() {
		if n.id >= 1<<nodeFileBits {
			t.Errorf("the id %d of %q has no room in that of a container's file", n.id, n.name)
		}
		if isContainers(n.id) {
			t.Errorf("%q is taken for a container's", n.name)
		}
	}
	for _, id := range []uint64{0, idContainers, idContainers | idMeminfo, containerNode{pid: 1}.id() | 1<<60, cpuDirBit | containersBit | 1<<38} {
		if n, ok := parseContainerNode(id); ok {
			t.Errorf("%#x is taken for %+v", id, n)
		}
	}
}

func TestParsePID(t *testing.T) {
	for _, tt := range []struct {
		name string
		want int
	}{
		{"1", 1}, {"10", 10}, {"4194303", maxPID},
		{"", 0}, {"0", 0}, {"01", 0}, {"-1", 0}, {"+1", 0}, {" 1", 0}, {"1 ", 0}, {"1\n", 0}, {"1_0", 0}, {"0x1", 0}, {"1e3", 0},
		{"self", 0}, {"..", 0}, {"1/2", 0}, {"4194304", 0}, {"18446744073709551617", 0}, {"99999999999999999999999999999999", 0}, {"١", 0},
	} {
		if got, ok := parsePID(tt.name); ok != (tt.want != 0) || ok && got != tt.want {
			t.Errorf("%q: %d, %v; want %d", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzParsePID makes sure that a container's folder has one name only.
func FuzzParsePID(f *testing.F) {
	for _, name := range []string{"1", "4194303", "4194304", "007", "-1", "+1", "1 ", "self", "\x00", "½"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		pid, ok := parsePID(name)
		if !ok {
			return
		}
		if pid < 1 || pid > maxPID || strconv.Itoa(pid) != name {
			t.Errorf("%q is taken for the pid %d", name, pid)
		}
		n := containerNode{pid: pid, start: uint32(len(name)), file: idMeminfo}
		if got, ok := parseContainerNode(n.id()); !ok || got != n {
			t.Errorf("%+v becomes %+v", n, got)
		}
	})
}
