package procfs

import (
	"bytes"
	"errors"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
)

// CPUField is a number in /proc/cpuinfo that differs in a container.
type CPUField uint8

const (
	// CPUNone is no number: the piece is text only.
	CPUNone CPUField = iota
	// CPUNumber is the CPU number: "processor", "physical id", "apicid", "initial apicid", and "cpu
	// number" on s390x.
	CPUNumber
	// CPUZero is "core id".
	CPUZero
	// CPUOne is "siblings" and "cpu cores".
	CPUOne
	// CPUCount is the number of CPUs: "# processors" on s390x.
	CPUCount
)

// AllCPUs is the CPU of a section about the whole machine.
const AllCPUs = -1

// Cpuinfo is /proc/cpuinfo, split at the numbers that differ in a container.
type Cpuinfo struct {
	Sections []CPUSection
	// online is the set of CPUs that were online before the file was read.
	online cpulist.Set
}

// CPUSection is a part of /proc/cpuinfo about one CPU or about the machine. On most architectures
// each CPU has one section. On s390x it has a line in a summary and a section. 32-bit Arm, POWER,
// LoongArch and s390x have lines about the machine before or after the CPUs.
type CPUSection struct {
	// CPU is the host's CPU number, or AllCPUs.
	CPU    int
	Pieces []CPUPiece
}

// CPUPiece is text with the number that follows it.
type CPUPiece struct {
	Text   []byte
	Number CPUField
}

// ParseCpuinfo parses /proc/cpuinfo. The result refers to text.
func ParseCpuinfo(text []byte) (*Cpuinfo, error) {
	c := cpuinfoParser{text: text, cur: CPUSection{CPU: AllCPUs}}
	for c.pos < len(text) {
		line, rest := cutLine(text[c.pos:])
		if len(bytes.TrimSpace(line)) == 0 {
			c.blankLine(len(line), rest)
		} else {
			c.line(line)
		}
	}
	c.begin(AllCPUs)
	for _, s := range c.out.Sections {
		if s.CPU != AllCPUs {
			return &c.out, nil
		}
	}
	return nil, errors.New("no processor")
}

// cpuinfoParser splits text into sections: text[start:pos] was parsed, and is not yet in a piece of
// the section cur.
type cpuinfoParser struct {
	text       []byte
	start, pos int
	cur        CPUSection
	out        Cpuinfo
	// inBlock is true if cur ends with a blank line.
	inBlock bool
}

// blankLine ends the section that it belongs to. On s390x it begins a section.
func (c *cpuinfoParser) blankLine(n int, rest []byte) {
	if key, value := splitKey(rest); string(key) == "cpu number" {
		if cpu, ok := cpuNumber(value); ok {
			c.begin(cpu)
			c.inBlock = true
			c.pos += n
			return
		}
	}
	c.pos += n
	c.begin(AllCPUs)
	c.inBlock = false
}

func (c *cpuinfoParser) line(line []byte) {
	key, value := splitKey(line)
	if cpu, ok := cpuNumber(value); ok && string(key) == "processor" {
		c.begin(cpu)
		c.inBlock = true
	} else if cpu, digits := summaryCPU(line); digits > 0 && !c.inBlock {
		c.begin(cpu)
		c.piece(c.pos+len(summaryPrefix), CPUNumber)
		c.start += digits
		c.pos += len(line)
		c.begin(AllCPUs)
		return
	}
	if field := c.field(key); field != CPUNone {
		valueAt := len(line) - len(value)
		end := len(bytes.TrimRight(line, "\r\n"))
		c.piece(c.pos+valueAt, field)
		c.start = c.pos + max(valueAt, end)
	}
	c.pos += len(line)
}

// field returns the kind of number in a line of the current section.
func (c *cpuinfoParser) field(key []byte) CPUField {
	if !c.inBlock {
		if string(key) == "# processors" {
			return CPUCount
		}
		return CPUNone
	}
	switch string(key) {
	case "processor", "cpu number", "physical id", "apicid", "initial apicid":
		return CPUNumber
	case "core id":
		return CPUZero
	case "siblings", "cpu cores":
		return CPUOne
	}
	return CPUNone
}

// piece adds the text before end, and the number after it, to the current section.
func (c *cpuinfoParser) piece(end int, n CPUField) {
	if c.cur.Pieces == nil {
		c.cur.Pieces = make([]CPUPiece, 0, 8)
	}
	c.cur.Pieces = append(c.cur.Pieces, CPUPiece{c.text[c.start:end:end], n})
	c.start = end
}

// begin ends the current section at pos, and begins one of the CPU.
func (c *cpuinfoParser) begin(cpu int) {
	if c.start < c.pos {
		c.piece(c.pos, CPUNone)
	}
	if len(c.cur.Pieces) > 0 {
		c.out.Sections = append(c.out.Sections, c.cur)
	}
	c.cur = CPUSection{CPU: cpu}
}

func splitKey(line []byte) (key, value []byte) {
	line, _ = cutLine(line)
	key, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return nil, nil
	}
	return bytes.TrimSpace(key), bytes.TrimLeft(value, " \t")
}

func cpuNumber(value []byte) (int, bool) {
	n, ok := ktext.Number(bytes.TrimSpace(value))
	return int(n), ok && n <= cpulist.MaxCPU
}

// summaryPrefix begins a CPU's line in the summary of s390x: "processor 0: version = FF, ...".
const summaryPrefix = "processor "

// summaryCPU returns the CPU number of such a line and its number of digits, 0 for other lines.
func summaryCPU(line []byte) (cpu, digits int) {
	rest, ok := bytes.CutPrefix(line, []byte(summaryPrefix))
	n, _, isSummary := bytes.Cut(rest, []byte{':'})
	cpu, isNumber := cpuNumber(n)
	if !ok || !isSummary || !isNumber {
		return 0, 0
	}
	return cpu, len(n)
}
