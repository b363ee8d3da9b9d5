package procfs

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"palisade/internal/linux/ktext"
	"palisade/internal/linux/sys"
)

// ParseBootOffset parses /proc/<pid>/timens_offsets (time_namespaces(7)), and returns how far
// CLOCK_BOOTTIME of the namespace is ahead of the kernel's.
func ParseBootOffset(text []byte) (time.Duration, error) {
	for line := range bytes.Lines(text) {
		clock, rest := ktext.Field(line)
		if string(clock) != "boottime" {
			continue
		}
		seconds, rest := ktext.Field(rest)
		nanos, _ := ktext.Field(rest)
		s, err := strconv.ParseInt(string(seconds), 10, 64)
		n, ok := ktext.Number(nanos) // the kernel normalizes it to less than a second
		const maxSeconds = math.MaxInt64/int64(time.Second) - 1
		if err != nil || !ok || n >= uint64(time.Second) || s > maxSeconds || s < -maxSeconds {
			break
		}
		return time.Duration(s)*time.Second + time.Duration(n), nil
	}
	return 0, fmt.Errorf("parse timens_offsets %.100q: no offset of boottime", text)
}

// ReadBootOffset reads the offset of the time namespace of the children of the process whose
// directory in /proc is dir. Before Linux 5.6, it fails with fs.ErrNotExist.
func ReadBootOffset(dir sys.File) (time.Duration, error) {
	text, err := dir.ReadFileAt("timens_offsets", nil)
	if err != nil {
		return 0, err
	}
	return ParseBootOffset(text)
}
