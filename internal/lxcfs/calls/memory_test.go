package calls

import (
	"testing"

	"palisade/internal/linux/sys"
)

// TestCountCrash checks that a crash counts for the calls whose answers were being computed.
func TestCountCrash(t *testing.T) {
	file, m, err := newMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := &Registry{shared: shared{memory: m}, filters: map[int]sys.File{0: {}, 1: {}, 2: {}, 3: {}}}
	const id = 7
	for slot := range 3 {
		m.slots[slot].call.ID = id
	}
	m.slots[0].begun.Store(id)
	m.slots[1].begun.Store(id)
	m.slots[1].answered.Store(id)
	m.slots[2].begun.Store(id - 1) // an earlier call
	r.countCrash()
	r.countCrash()
	for slot, want := range []uint32{2, 0, 0, 0} {
		if got := m.slots[slot].crashes.Load(); got != want {
			t.Errorf("slot %d: %d crashes, want %d", slot, got, want)
		}
	}
	m.slots[0].free(id)
	if got := m.slots[0].crashes.Load(); got != 0 {
		t.Errorf("%d crashes of a free slot", got)
	}
}
