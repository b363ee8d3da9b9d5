package procfs

import (
	"bytes"
	"errors"
	"math"
	"slices"

	"palisade/internal/linux/ktext"
)

// MemField is a line of /proc/meminfo whose value differs in a container.
type MemField uint8

// The fields are named after the keys. MemOther is any other line.
const (
	MemOther MemField = iota
	MemTotal
	MemFree
	MemAvailable
	MemBuffers
	MemCached
	MemSwapCached
	MemActive
	MemInactive
	MemActiveAnon
	MemInactiveAnon
	MemActiveFile
	MemInactiveFile
	MemUnevictable
	MemMlocked
	MemSwapTotal
	MemSwapFree
	MemZswap
	MemZswapped
	MemDirty
	MemWriteback
	MemAnonPages
	MemMapped
	MemShmem
	MemKReclaimable
	MemSlab
	MemSReclaimable
	MemSUnreclaim
	MemKernelStack
	MemPageTables
	MemSecPageTables
	MemCommitLimit
	MemCommittedAS
	MemPercpu
	MemAnonHugePages
	MemShmemHugePages
	MemFileHugePages
	MemHugePagesTotal
	MemHugePagesFree
	MemHugePagesRsvd
	MemHugePagesSurp
	MemHugepagesize
	MemHugetlb
	// MemFields is the number of fields.
	MemFields
)

// MemValues holds the values of the fields: pages for HugePages_*, otherwise kB.
type MemValues [MemFields]uint64

// Meminfo is /proc/meminfo.
type Meminfo struct {
	// Lines are in the kernel's order.
	Lines []MemLine
	// Values are the host's, 0 for lines that the host does not have.
	Values MemValues
}

// MemLine is a line of /proc/meminfo.
type MemLine struct {
	Field MemField
	// Head and Tail are the text before and after the number, which is right-aligned in Width
	// columns. Head is the whole line of MemOther.
	Head, Tail []byte
	Width      int
}

// Columns of /proc/meminfo: a key with colon and spaces has memKeyWidth columns, or countKeyWidth
// in lines without a unit (HugePages_Total). The number ends at memNumberEnd, unless it is too
// long.
const (
	memKeyWidth   = 16
	countKeyWidth = 19
	memNumberEnd  = 24
)

// ParseMeminfo parses /proc/meminfo. The result refers to text.
func ParseMeminfo(text []byte) (*Meminfo, error) {
	m := &Meminfo{Lines: make([]MemLine, 0, bytes.Count(text, []byte{'\n'})+1)}
	seen := false
	for line := range bytes.Lines(text) {
		l, value := parseMemLine(line)
		m.Lines = append(m.Lines, l)
		if l.Field != MemOther {
			m.Values[l.Field] = value
			seen = seen || l.Field == MemTotal
		}
	}
	if !seen {
		return nil, errors.New("no MemTotal")
	}
	return m, nil
}

func parseMemLine(line []byte) (MemLine, uint64) {
	whole := MemLine{Head: line}
	key, rest, ok := bytes.Cut(line, []byte{':'})
	field := memField(key)
	number := bytes.TrimLeft(rest, " ")
	tail := bytes.TrimLeft(number, "0123456789")
	value, isNumber := ktext.Number(number[:len(number)-len(tail)])
	if !ok || field == MemOther || !isNumber || value == math.MaxUint64 {
		return whole, 0
	}
	width := memKeyWidth
	if !bytes.HasPrefix(tail, []byte(" kB")) {
		width = countKeyWidth
	}
	head := min(len(line)-len(number), width)
	return MemLine{
		Field: field, Head: line[:head], Tail: tail, Width: memNumberEnd - head,
	}, value
}

// memKeys holds the keys of the fields in their order, from MemTotal on.
var memKeys = [...]string{
	"MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active",
	"Inactive", "Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)",
	"Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Zswap", "Zswapped", "Dirty",
	"Writeback", "AnonPages", "Mapped", "Shmem", "KReclaimable", "Slab", "SReclaimable",
	"SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "CommitLimit", "Committed_AS",
	"Percpu", "AnonHugePages", "ShmemHugePages", "FileHugePages", "HugePages_Total",
	"HugePages_Free", "HugePages_Rsvd", "HugePages_Surp", "Hugepagesize", "Hugetlb",
}

func memField(key []byte) MemField {
	return MemField(slices.Index(memKeys[:], string(key)) + 1) // 0 is MemOther
}
