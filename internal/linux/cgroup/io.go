package cgroup

import (
	"bytes"
	"errors"
	"fmt"

	"palisade/internal/linux/ktext"
)

// IO appends the I/O of the cgroup on each block device to dst.
func (g *Group) IO(dst []DeviceIO, s *Scratch) ([]DeviceIO, error) {
	chain := g.chain(ctrlIO)
	if len(chain) == 0 {
		return dst, fmt.Errorf("read block I/O: %w", ErrNoController)
	}
	l := &chain[0]
	var err error
	if l.v2 {
		var text []byte
		if text, err = l.read(fileIOStat, s); err == nil {
			return parseIOStat(dst, text), nil
		}
	} else {
		dst, err = l.ioV1(dst, s)
	}
	return dst, wrap("read block I/O", err)
}

// ioSource is a pair of v1 files that count the same I/O.
type ioSource struct{ count, bytes file }

// ioV1 uses the first ioSource with values, which depends on the kernel and the disk's I/O
// scheduler: the throttling policy, which sees all I/O (recursive since Linux 5.0), BFQ, or CFQ
// (until Linux 4.20), which has more details.
func (l *level) ioV1(dst []DeviceIO, s *Scratch) ([]DeviceIO, error) {
	start := len(dst)
	found := false
	for _, source := range [...]ioSource{
		{fileThrottleCount, fileThrottleBytes},
		{fileBFQCount, fileBFQBytes},
		{fileCFQCount, fileCFQBytes},
	} {
		text, err := l.read(source.count, s)
		if errors.Is(err, errMissing) {
			continue
		} else if err != nil {
			return dst, err
		}
		found = true
		dst = parseBlkio(dst, start, text, source.count)
		if text, err = l.read(source.bytes, s); err != nil && !errors.Is(err, errMissing) {
			return dst, err
		} else if err == nil {
			dst = parseBlkio(dst, start, text, source.bytes)
		}
		if len(dst) == start {
			continue
		}
		if source.count == fileCFQCount {
			return l.cfqDetails(dst, start, s)
		}
		return dst, nil
	}
	if !found {
		return dst, errMissing
	}
	return dst, nil
}

func (l *level) cfqDetails(dst []DeviceIO, start int, s *Scratch) ([]DeviceIO, error) {
	for _, detail := range [...]file{fileCFQMerged, fileCFQTime, fileCFQQueued} {
		text, err := l.read(detail, s)
		if err != nil && !errors.Is(err, errMissing) {
			return dst, err
		}
		if err == nil {
			dst = parseBlkio(dst, start, text, detail)
		}
	}
	return dst, nil
}

// parseIOStat parses io.stat: lines "major:minor key=number ...". Instead of the number of a
// removed device the kernel prints nothing or "(unknown)". Linux 5.15 and 5.16 do not end the line
// of a device without values ("7:0 254:0 rbytes=..."): values belong to the last device before
// them.
func parseIOStat(dst []DeviceIO, text []byte) []DeviceIO {
	for line := range bytes.Lines(text) {
		var d DeviceIO
		isDevice, hasValues := false, false
		for word, rest := ktext.Field(line); len(word) > 0; word, rest = ktext.Field(rest) {
			key, digits, isPair := bytes.Cut(word, []byte{'='})
			if !isPair {
				isDevice = d.parseDevice(word)
				continue
			}
			n, ok := value(digits)
			if field := d.ioStatField(key); ok && field != nil {
				*field, hasValues = n, true
			}
		}
		if isDevice && hasValues {
			dst = append(dst, d)
		}
	}
	return dst
}

func (d *DeviceIO) ioStatField(key []byte) *uint64 {
	switch string(key) {
	case "rbytes":
		return &d.ReadBytes
	case "wbytes":
		return &d.WriteBytes
	case "rios":
		return &d.Reads
	case "wios":
		return &d.Writes
	case "dbytes":
		return &d.DiscardBytes
	case "dios":
		return &d.Discards
	}
	return nil
}

// parseBlkio parses a v1 file, lines "major:minor operation number", and adds the numbers to the
// devices in dst[start:], to which it appends new devices.
func parseBlkio(dst []DeviceIO, start int, text []byte, f file) []DeviceIO {
	for line := range bytes.Lines(text) {
		name, line := ktext.Field(line)
		operation, n, ok := keyNumber(line)
		var d DeviceIO
		if !ok || !d.parseDevice(name) {
			continue
		}
		i := start
		for i < len(dst) && (dst[i].Major != d.Major || dst[i].Minor != d.Minor) {
			i++
		}
		if i == len(dst) {
			dst = append(dst, d)
		}
		if counter := dst[i].blkioField(f, operation); counter != nil { // not Sync, Async, Total
			*counter = ktext.Add(*counter, n)
		}
	}
	return dst
}

func (d *DeviceIO) blkioField(f file, operation []byte) *uint64 {
	switch f {
	case fileThrottleCount, fileBFQCount, fileCFQCount:
		return byOperation(operation, &d.Reads, &d.Writes, &d.Discards)
	case fileThrottleBytes, fileBFQBytes, fileCFQBytes:
		return byOperation(operation, &d.ReadBytes, &d.WriteBytes, &d.DiscardBytes)
	case fileCFQMerged:
		return byOperation(operation, &d.ReadMerges, &d.WriteMerges, nil)
	case fileCFQTime:
		return byOperation(operation, &d.ReadNanos, &d.WriteNanos, nil)
	case fileCFQQueued:
		return byOperation(operation, &d.InFlight, &d.InFlight, nil)
	}
	return nil
}

func byOperation(operation []byte, read, write, discard *uint64) *uint64 {
	switch string(operation) {
	case "Read":
		return read
	case "Write":
		return write
	case "Discard":
		return discard
	}
	return nil
}

// parseDevice parses "major:minor", which have 12 and 20 bits in the kernel's dev_t.
func (d *DeviceIO) parseDevice(name []byte) bool {
	first, second, ok := bytes.Cut(name, []byte{':'})
	major, ok1 := value(first)
	minor, ok2 := value(second)
	d.Major, d.Minor = uint32(major), uint32(minor)
	return ok && ok1 && ok2 && major < 1<<12 && minor < 1<<20
}
