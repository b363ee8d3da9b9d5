package journal

import (
	"encoding/binary"
	"fmt"
)

// Record holds the properties of a file that a chown clears, as they were before the change.
type Record struct {
	// Run is the State.Run of the change. Records of other runs are not trusted.
	Run uint64
	// Mode holds the permissions and the set-id bits.
	Mode uint32
	// Caps is the extended attribute of the file capabilities, nil if there is none.
	Caps []byte
}

const (
	recordVersion = 1
	recordHeader  = 13 // bytes before Caps
)

func (r *Record) encode() []byte {
	b := append(make([]byte, 0, 40), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, r.Run)
	b = binary.LittleEndian.AppendUint32(b, r.Mode)
	return append(b, r.Caps...)
}

func decodeRecord(b []byte) (*Record, error) {
	if len(b) < recordHeader || b[0] != recordVersion {
		return nil, fmt.Errorf("parse file record: unsupported version, or less than %d bytes: %.40x",
			recordHeader, b)
	}
	r := &Record{Run: binary.LittleEndian.Uint64(b[1:]), Mode: binary.LittleEndian.Uint32(b[9:])}
	if r.Mode > 0o7777 {
		return nil, fmt.Errorf("parse file record: mode %#o, want at most 07777", r.Mode)
	}
	if len(b) > recordHeader {
		r.Caps = b[recordHeader:]
	}
	return r, nil
}
