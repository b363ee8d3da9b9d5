package persist

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// Triggers holds the pressure triggers, which the next worker sets again. The zero Triggers keeps
// nothing.
type Triggers struct {
	mu  sync.Mutex
	mem []byte
}

// Trigger is the memory of one trigger: a uint64 each for the number of the open file, or 0 if the
// record is free, and for Waiter, Fired, Gone and the node, then the container's Key, the length of
// the text, and the text.
type Trigger []byte

const (
	// MaxTriggers is the number of triggers that are kept.
	MaxTriggers = 4096
	// MaxTriggerText is the maximum length of a trigger: psi_write() in the kernel reads 32 bytes.
	MaxTriggerText = 64

	nodeAt       = 32
	triggerKeyAt = 40
	lengthAt     = triggerKeyAt + keySize
	textAt       = lengthAt + 8
	triggerSize  = textAt + MaxTriggerText
	triggersSize = MaxTriggers * triggerSize
)

func (t Trigger) number() *atomic.Uint64 { return sys.Uint64In(t) }

// Waiter is the kernel's handle of the pollers plus one, or 0 if there are none.
func (t Trigger) Waiter() *atomic.Uint64 { return sys.Uint64In(t[8:]) }

// Fired is 1 if the event has occurred since the last poll.
func (t Trigger) Fired() *atomic.Uint64 { return sys.Uint64In(t[16:]) }

// Gone is 1 if the cgroup was removed.
func (t Trigger) Gone() *atomic.Uint64 { return sys.Uint64In(t[24:]) }

// Number returns the number of the open file.
func (t Trigger) Number() uint64 { return t.number().Load() }

// Node returns the id of the pressure file.
func (t Trigger) Node() uint64 { return u64(t, nodeAt) }

// Key returns the container whose pressure file has the trigger.
func (t Trigger) Key() Key { return keyIn(t[triggerKeyAt:]) }

// Text returns the trigger as it is written to the pressure file.
func (t Trigger) Text() []byte { return t[textAt : textAt+min(u64(t, lengthAt), MaxTriggerText)] }

// Free frees the record.
func (t Trigger) Free() { t.number().Store(0) }

// Add records the trigger text, of at most MaxTriggerText bytes, on an open file. If there is no
// room, the result is not kept for the next worker.
func (k *Triggers) Add(number, node uint64, key Key, text []byte) Trigger {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := make(Trigger, triggerSize)
	for r := range k.records {
		if r.Number() == 0 {
			t = r
			break
		}
	}
	clear(t)
	binary.NativeEndian.PutUint64(t[nodeAt:], node)
	key.put(t[triggerKeyAt:])
	binary.NativeEndian.PutUint64(t[lengthAt:], uint64(len(text)))
	copy(t[textAt:], text)
	t.number().Store(number)
	return t
}

// All returns the triggers that are kept.
func (k *Triggers) All() (all []Trigger) {
	for t := range k.records {
		if t.Number() != 0 {
			all = append(all, t)
		}
	}
	return all
}

func (k *Triggers) records(yield func(Trigger) bool) {
	for at := 0; at < len(k.mem); at += triggerSize {
		if !yield(Trigger(k.mem[at : at+triggerSize : at+triggerSize])) {
			return
		}
	}
}
