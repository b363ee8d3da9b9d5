package persist

import (
	"sync"
	"sync/atomic"
)

// Triggers holds the pressure triggers, which the next worker sets again. The zero Triggers keeps
// nothing.
type Triggers struct {
	mu  sync.Mutex
	mem []Trigger
}

const (
	// MaxTriggers is the number of triggers that are kept.
	MaxTriggers = 4096
	// MaxTriggerText is the maximum length of a trigger: psi_write() in the kernel reads 32 bytes.
	MaxTriggerText = 64
)

// Trigger is the memory of one trigger.
type Trigger struct {
	// Number is the number of the open file, or 0 to free the memory.
	Number atomic.Uint64
	// Waiter is the kernel's handle of the pollers plus one, or 0 if there are none.
	Waiter atomic.Uint64
	// Fired is 1 if the event has occurred since the last poll, Gone if the cgroup was removed.
	Fired, Gone atomic.Uint64
	// Node is the id of the pressure file, and Key the container that it is of.
	Node   uint64
	Key    Key
	length uint64
	text   [MaxTriggerText]byte
}

// Text returns the trigger as it is written to the pressure file.
func (t *Trigger) Text() []byte { return t.text[:min(t.length, MaxTriggerText)] }

// Add records the trigger text, of at most MaxTriggerText bytes, on an open file. If there is no
// room, the result is not kept for the next worker.
func (k *Triggers) Add(number, node uint64, key Key, text []byte) *Trigger {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := new(Trigger)
	for i := range k.mem {
		if k.mem[i].Number.Load() == 0 {
			t = &k.mem[i]
			break
		}
	}
	t.Waiter.Store(0)
	t.Fired.Store(0)
	t.Gone.Store(0)
	t.Node, t.Key, t.length = node, key, uint64(copy(t.text[:], text))
	t.Number.Store(number)
	return t
}

// All returns the triggers that are kept.
func (k *Triggers) All() (all []*Trigger) {
	for i := range k.mem {
		if t := &k.mem[i]; t.Number.Load() != 0 {
			all = append(all, t)
		}
	}
	return all
}
