package lxcfs

import (
	"encoding/binary"
	"testing"
)

func TestTruncate(t *testing.T) {
	for _, tt := range []struct {
		mask, want [2]uint64
		n          int
		changed    bool
	}{
		{[2]uint64{0b1011, 0}, [2]uint64{0b0011, 0}, 2, true},
		{[2]uint64{0b1011, 0}, [2]uint64{0b1011, 0}, 3, false},
		{[2]uint64{0b1011, 0}, [2]uint64{0b1011, 0}, 9, false},
		{[2]uint64{1 << 63, 0b110}, [2]uint64{1 << 63, 0b010}, 2, true},
		{[2]uint64{0, 0b110}, [2]uint64{0, 0b010}, 1, true},
		{[2]uint64{^uint64(0), ^uint64(0)}, [2]uint64{^uint64(0), 1}, 65, true},
	} {
		mask := make([]byte, 16)
		for i, word := range tt.mask {
			binary.NativeEndian.PutUint64(mask[8*i:], word)
		}
		changed := truncate(mask, tt.n)
		got := [2]uint64{binary.NativeEndian.Uint64(mask), binary.NativeEndian.Uint64(mask[8:])}
		if changed != tt.changed || got != tt.want {
			t.Errorf("the first %d of %b: got %b, %v", tt.n, tt.mask, got, changed)
		}
	}
}
