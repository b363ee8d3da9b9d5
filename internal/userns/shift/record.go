package shift

import (
	"encoding/binary"
	"errors"
)

// record is what is written down before a chown takes it from a file: as it was, whatever has become of it meanwhile.
type record struct {
	// run is the change's State.Run. A record of another one came with the file from elsewhere.
	run uint64
	// mode are the permissions with the set-id bits.
	mode uint32
	// caps are the capabilities, as the extended attribute has them; nil if there are none.
	caps []byte
}

const recordVersion = 1

func (r *record) encode() []byte {
	b := append(make([]byte, 0, 40), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, r.run)
	b = binary.LittleEndian.AppendUint32(b, r.mode)
	return append(b, r.caps...)
}

func decodeRecord(b []byte) (*record, error) {
	const head = 13
	if len(b) < head || b[0] != recordVersion {
		return nil, errors.New("what is recorded of the file is not understood")
	}
	r := &record{run: binary.LittleEndian.Uint64(b[1:]), mode: binary.LittleEndian.Uint32(b[9:])}
	if r.mode > 0o7777 {
		return nil, errors.New("what is recorded of the file's mode is not understood")
	}
	if len(b) > head {
		r.caps = b[head:]
	}
	return r, nil
}
