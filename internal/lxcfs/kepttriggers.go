package lxcfs

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// keptTriggers are the pressure triggers, for the next process to set again. They are part of the file of guestState.
type keptTriggers struct {
	mu  sync.Mutex
	mem []byte
}

// triggerRecord is the memory of one trigger: eight bytes each for the number of the open file, which is 0 where the
// record is free, for who waits (the kernel's handle of those who poll, plus one; 0 where nobody does), whether the event
// came and was not polled yet, whether the cgroup is gone, the node, the container's key (nothing for the host), and the
// length of the text, which follows.
type triggerRecord []byte

const (
	triggerNodeAt    = 32
	triggerKeyAt     = 40
	triggerLengthAt  = 64
	triggerTextAt    = 72
	triggerSize      = triggerTextAt + maxTriggerText
	keptTriggerCount = 4096
	keptTriggersSize = keptTriggerCount * triggerSize
)

func (r triggerRecord) number() *atomic.Uint64 { return sys.Uint64In(r) }
func (r triggerRecord) waiter() *atomic.Uint64 { return sys.Uint64In(r[8:]) }
func (r triggerRecord) fired() *atomic.Uint64  { return sys.Uint64In(r[16:]) }
func (r triggerRecord) gone() *atomic.Uint64   { return sys.Uint64In(r[24:]) }
func (r triggerRecord) node() uint64           { return binary.NativeEndian.Uint64(r[triggerNodeAt:]) }
func (r triggerRecord) free()                  { r.number().Store(0) }

func (r triggerRecord) key() stateKey { return decodeKey(r[triggerKeyAt:]) }

func (r triggerRecord) text() []byte {
	length := binary.NativeEndian.Uint64(r[triggerLengthAt:])
	return r[triggerTextAt : triggerTextAt+min(length, maxTriggerText)]
}

// add keeps a trigger of c that was written to the open file of that number. Where there is no room, it is the caller's
// memory alone.
func (k *keptTriggers) add(number, node uint64, c *knownContainer, text []byte) triggerRecord {
	var key stateKey
	if c != nil {
		key = keyOf(c)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.unused()
	clear(r)
	binary.NativeEndian.PutUint64(r[triggerNodeAt:], node)
	key.appendTo(r[triggerKeyAt:triggerKeyAt])
	binary.NativeEndian.PutUint64(r[triggerLengthAt:], uint64(len(text)))
	copy(r[triggerTextAt:], text)
	r.number().Store(number)
	return r
}

func (k *keptTriggers) unused() triggerRecord {
	for at := 0; at < len(k.mem); at += triggerSize {
		if r := k.record(at); r.number().Load() == 0 {
			return r
		}
	}
	return make(triggerRecord, triggerSize)
}

func (k *keptTriggers) record(at int) triggerRecord {
	return triggerRecord(k.mem[at : at+triggerSize : at+triggerSize])
}

// all are the triggers that were kept.
func (k *keptTriggers) all() (records []triggerRecord) {
	for at := 0; at < len(k.mem); at += triggerSize {
		if r := k.record(at); r.number().Load() != 0 {
			records = append(records, r)
		}
	}
	return records
}
