package cgroup

import (
	"bytes"
	"errors"
	"fmt"

	"palisade/internal/linux/ktext"
)

// IO appends the I/O of the cgroup on each block device to dst.
func (g *Group) IO(dst []DeviceIO, s *Scratch) ([]DeviceIO, error) {
	chain := g.chain("blkio")
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

// ioKind holds the counters of one kind of a device.
type ioKind struct{ read, write, discard *uint64 }

func requests(d *DeviceIO) ioKind { return ioKind{&d.Reads, &d.Writes, &d.Discards} }
func sizes(d *DeviceIO) ioKind    { return ioKind{&d.ReadBytes, &d.WriteBytes, &d.DiscardBytes} }
func merges(d *DeviceIO) ioKind   { return ioKind{&d.ReadMerges, &d.WriteMerges, nil} }
func times(d *DeviceIO) ioKind    { return ioKind{&d.ReadNanos, &d.WriteNanos, nil} }
func queued(d *DeviceIO) ioKind   { return ioKind{&d.InFlight, &d.InFlight, nil} }

type blkioFile struct {
	file file
	of   func(*DeviceIO) ioKind
}

// blkioSources holds the v1 files that count the same I/O. Which have values depends on the kernel
// and the disk's I/O scheduler: the throttling policy, which sees all I/O (recursive since Linux
// 5.0), BFQ, or CFQ (until Linux 4.20), which has more details.
var blkioSources = [][]blkioFile{
	{{fileThrottleCount, requests}, {fileThrottleBytes, sizes}},
	{{fileBFQCount, requests}, {fileBFQBytes, sizes}},
	{
		{fileCFQCount, requests}, {fileCFQBytes, sizes}, {fileCFQMerged, merges},
		{fileCFQTime, times}, {fileCFQQueued, queued},
	},
}

// ioV1 uses the first of the blkioSources with values.
func (l *level) ioV1(dst []DeviceIO, s *Scratch) ([]DeviceIO, error) {
	start := len(dst)
	missing := errMissing
	for _, source := range blkioSources {
		for _, f := range source {
			text, err := l.read(f.file, s)
			if errors.Is(err, errMissing) {
				continue
			} else if err != nil {
				return dst, err
			}
			missing = nil
			dst = parseBlkio(dst, start, text, f.of)
		}
		if len(dst) > start {
			return dst, nil
		}
	}
	return dst, missing
}

// parseIOStat parses io.stat: lines "major:minor key=number ...". Instead of the number of a
// removed device the kernel prints nothing or "(unknown)". Linux 5.15 and 5.16 do not end the line
// of a device without values ("7:0 254:0 rbytes=..."): values belong to the last device before
// them.
func parseIOStat(dst []DeviceIO, text []byte) []DeviceIO {
	for line := range bytes.Lines(text) {
		dst = append(dst, DeviceIO{})
		d := &dst[len(dst)-1]
		isDevice, hasValues := false, false
		for word, rest := ktext.Field(line); len(word) > 0; word, rest = ktext.Field(rest) {
			key, digits, isPair := bytes.Cut(word, []byte{'='})
			if !isPair {
				isDevice = d.parseDevice(word)
				continue
			}
			n, ok := value(digits)
			if field := ioStatFields[string(key)]; ok && field != nil {
				*field(d), hasValues = n, true
			}
		}
		if !isDevice || !hasValues {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

var ioStatFields = map[string]func(*DeviceIO) *uint64{
	"rbytes": func(d *DeviceIO) *uint64 { return &d.ReadBytes },
	"wbytes": func(d *DeviceIO) *uint64 { return &d.WriteBytes },
	"rios":   func(d *DeviceIO) *uint64 { return &d.Reads },
	"wios":   func(d *DeviceIO) *uint64 { return &d.Writes },
	"dbytes": func(d *DeviceIO) *uint64 { return &d.DiscardBytes },
	"dios":   func(d *DeviceIO) *uint64 { return &d.Discards },
}

// parseBlkio parses a v1 file, lines "major:minor operation number", and adds the numbers to the
// devices in dst[start:], to which it appends new devices.
func parseBlkio(
	dst []DeviceIO, start int, text []byte, of func(*DeviceIO) ioKind,
) []DeviceIO {
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
		var counter *uint64
		switch c := of(&dst[i]); string(operation) { // not Sync, Async, Total
		case "Read":
			counter = c.read
		case "Write":
			counter = c.write
		case "Discard":
			counter = c.discard
		}
		if counter != nil {
			*counter = ktext.Add(*counter, n)
		}
	}
	return dst
}

// parseDevice parses "major:minor", which have 12 and 20 bits in the kernel's dev_t.
func (d *DeviceIO) parseDevice(name []byte) bool {
	first, second, ok := bytes.Cut(name, []byte{':'})
	major, ok1 := value(first)
	minor, ok2 := value(second)
	d.Major, d.Minor = uint32(major), uint32(minor)
	return ok && ok1 && ok2 && major < 1<<12 && minor < 1<<20
}
