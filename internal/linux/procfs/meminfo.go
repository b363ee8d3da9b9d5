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
	// MemUsed and MemFilePages are only in the files of NUMA nodes.
	MemUsed
	MemFilePages
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

// memFormat describes the columns of a meminfo file, without the words "Node 0 ". A key with colon
// and spaces has memKeyWidth columns, or countKeyWidth in lines without a unit (HugePages_Total).
// The number ends at memNumberEnd or countEnd, unless it is too long.
type memFormat struct{ countKeyWidth, countEnd int }

const (
	memKeyWidth  = 16
	memNumberEnd = 24
)

var (
	machineFormat = memFormat{countKeyWidth: 19, countEnd: 24}
	nodeFormat    = memFormat{countKeyWidth: 17, countEnd: 22}
)

// ParseMeminfo parses /proc/meminfo. The result refers to text.
func ParseMeminfo(text []byte) (*Meminfo, error) { return parseMeminfo(text, machineFormat) }

// ParseNodeMeminfo parses /sys/devices/system/node/node<N>/meminfo, whose lines begin with the words
// "Node <N> ". The result refers to text.
func ParseNodeMeminfo(text []byte) (*Meminfo, error) { return parseMeminfo(text, nodeFormat) }

func parseMeminfo(text []byte, format memFormat) (*Meminfo, error) {
	m := &Meminfo{Lines: make([]MemLine, 0, bytes.Count(text, []byte{'\n'})+1)}
	seen := false
	for line := range bytes.Lines(text) {
		words := line
		if format == nodeFormat {
			_, words = ktext.Field(words)
			_, words = ktext.Field(words)
			words = bytes.TrimPrefix(words, []byte{' '})
		}
		l, value := format.parseLine(words)
		l.Head = line[:len(line)-len(words)+len(l.Head)]
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

func (f memFormat) parseLine(line []byte) (MemLine, uint64) {
	whole := MemLine{Head: line}
	key, rest, ok := bytes.Cut(line, []byte{':'})
	field := memField(key)
	number := bytes.TrimLeft(rest, " ")
	tail := bytes.TrimLeft(number, "0123456789")
	value, isNumber := ktext.Number(number[:len(number)-len(tail)])
	if !ok || field == MemOther || !isNumber || value == math.MaxUint64 {
		return whole, 0
	}
	width, end := memKeyWidth, memNumberEnd
	if !bytes.HasPrefix(tail, []byte(" kB")) {
		width, end = f.countKeyWidth, f.countEnd
	}
	head := min(len(line)-len(number), width)
	end = min(end, len(line)-len(tail)) // as FileHugePages of nodes in Linux 6.1
	return MemLine{Field: field, Head: line[:head], Tail: tail, Width: end - head}, value
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
	"MemUsed", "FilePages",
}

func memField(key []byte) MemField {
	return MemField(slices.Index(memKeys[:], string(key)) + 1) // 0 is MemOther
}
