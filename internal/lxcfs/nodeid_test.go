package lxcfs

import (
	"errors"
	"math"
	"strconv"
	"syscall"
	"testing"

	"palisade/internal/inject/mounts"
)

// TestNodeID checks that each node has a distinct id in each tree, from which splitNode returns
// both.
func TestNodeID(t *testing.T) {
	trees := []treeID{sharedTree}
	for _, n := range []uint64{0, 1, 2, 1 << 29, 1<<mounts.PrivateTreeBits - 1} {
		trees = append(trees, treeID(privateBit|n))
	}
	var bases []uint64
	for _, n := range nodes() {
		bases = append(bases, n.id)
	}
	bases = append(bases, sysfsBit, sysfsBit|1, sysfsBit|(1<<sysfsInodeBits-1))
	type place struct {
		in   treeID
		base uint64
	}
	seen := make(map[uint64]place)
	for _, in := range trees {
		for _, base := range bases {
			id, err := in.node(base)
			if err != nil {
				t.Fatalf("node %#x in tree %#x: %v", base, in, err)
			}
			want := place{in, base}
			if in != sharedTree && base&sysfsBit != 0 {
				want.in = privateBit | in&sysfsTreeMask
			}
			if gotTree, gotBase := splitNode(id); gotTree != want.in || gotBase != base {
				t.Errorf("%+v becomes %#x, and that %#x in tree %#x", want, id, gotBase, gotTree)
			}
			if other, ok := seen[id]; ok && other != want {
				t.Errorf("%+v and %+v have the same id", want, other)
			}
			seen[id] = want
			if isContainers(id) {
				t.Errorf("%+v is taken for one of the containers", want)
			}
			isDir := base == idCPUDir || base == idNodeDir
			if want := isDir || base&sysfsBit != 0; isSysfs(id) != want {
				t.Errorf("%#x is in the sysfs tree: %v", id, !want)
			}
		}
	}
	if id, err := trees[1].node(sysfsBit | 1<<sysfsInodeBits); !errors.Is(err, syscall.EOVERFLOW) {
		t.Errorf("an inode number of 33 bits becomes %#x, %v", id, err)
	}
}

// FuzzParseTree checks that each private tree has exactly one name.
func FuzzParseTree(f *testing.F) {
	for _, name := range []string{
		"0", "1", "7fffffffffffff", "80000000000000", "01", "A", "+1", "0x1", "1_0", "", "..",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		tree, ok := parseTree(name)
		if ok && (tree&privateBit == 0 || strconv.FormatUint(uint64(tree&^privateBit), 16) != name) {
			t.Errorf("%q is parsed as tree %#x", name, tree)
		}
	})
}

// TestContainerNode checks that an id has all parts of its node, and is not confused with other kinds.
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
				if !isContainers(id) || isSysfs(id) {
					t.Errorf("%+v: containers %v, CPUs %v", n, isContainers(id), isSysfs(id))
				}
			}
		}
	}
	for _, n := range nodes() {
		if n.id >= 1<<nodeFileBits {
			t.Errorf("id %d of %q is too large for the id of a container's file", n.id, n.name)
		}
		if isContainers(n.id) {
			t.Errorf("%q is in the directory containers", n.name)
		}
	}
	for _, id := range []uint64{
		0, idContainers, idContainers | idMeminfo, containerNode{pid: 1}.id() | 1<<60,
		sysfsBit | containersBit | 1<<38,
	} {
		if n, ok := parseContainerNode(id); ok {
			t.Errorf("%#x is parsed as %+v", id, n)
		}
	}
}

func TestParsePID(t *testing.T) {
	for _, tt := range []struct {
		name string
		want int
	}{
		{"1", 1}, {"10", 10}, {"4194303", maxPID},
		{"", 0}, {"0", 0}, {"01", 0}, {"-1", 0}, {"+1", 0}, {" 1", 0}, {"1 ", 0}, {"1\n", 0},
		{"1_0", 0}, {"0x1", 0}, {"1e3", 0}, {"self", 0}, {"..", 0}, {"1/2", 0}, {"4194304", 0},
		{"18446744073709551617", 0}, {"99999999999999999999999999999999", 0}, {"١", 0},
	} {
		if got, ok := parsePID(tt.name); ok != (tt.want != 0) || ok && got != tt.want {
			t.Errorf("%q: %d, %v; want %d", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzParsePID checks that a container's directory has exactly one name.
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
			t.Errorf("%q is parsed as pid %d", name, pid)
		}
		n := containerNode{pid: pid, start: uint32(len(name)), file: idMeminfo}
		if got, ok := parseContainerNode(n.id()); !ok || got != n {
			t.Errorf("%+v becomes %+v", n, got)
		}
	})
}
