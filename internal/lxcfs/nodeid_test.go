package lxcfs

import (
	"errors"
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
	bases = append(bases, cpuDirBit, cpuDirBit|1, cpuDirBit|(1<<cpuInodeBits-1))
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
			if in != sharedTree && base&cpuDirBit != 0 {
				want.in = privateBit | in&cpuTreeMask
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
			if isCPU := base == idCPUDir || base&cpuDirBit != 0; isCPUDir(id) != isCPU {
				t.Errorf("%+v is in the CPU directory: %v", want, !isCPU)
			}
		}
	}
	if id, err := trees[1].node(cpuDirBit | 1<<cpuInodeBits); !errors.Is(err, syscall.EOVERFLOW) {
		t.Errorf("an inode number of 33 bits becomes %#x, %v", id, err)
	}
}

// FuzzParseTree checks that each private tree has exactly one name.
func FuzzParseTree(f *testing.F) {
	for _, name := range []string{"0", "1", "7fffffffffffff", "80000000000000", "01", "A", "+1", "0x1", "1_0", "", ".."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		tree, ok := parseTree(name)
		if ok && (tree&privateBit == 0 || strconv.FormatUint(uint64(tree&^privateBit), 16) != name) {
			t.Errorf("%q is taken for tree %#x", name, tree)
		}
	})
}
