package procfs

import (
	"bytes"
	"errors"

	"palisade/internal/cpulist"
)

// CPUField names a number in /proc/cpuinfo that is not the same in a container.
type CPUField uint8

const (
	// CPUNone is no number: the text of the piece is all.
	CPUNone CPUField = iota
	// CPUNumber is the number of the CPU: "processor", "physical id", "apicid", "initial apicid", and "cpu number" on
	// s390x.
	CPUNumber
	// CPUZero is "core id".
	CPUZero
	// CPUOne is "siblings" and "cpu cores".
	CPUOne
	// CPUCount is the number of CPUs: "# processors" on s390x.
	CPUCount
)

// AllCPUs is the CPU of a section that is no single CPU's.
const AllCPUs = -1

// Cpuinfo is /proc/cpuinfo, cut at the numbers that are not the same in a container.
type Cpuinfo struct {
	Sections []CPUSection
	// online are the CPUs that were online when the text was read.
	online cpulist.Set
}

// CPUSection is a part of /proc/cpuinfo that is about one CPU, or about all. On most architectures each CPU has one
// section; on s390x it has a line in the summary and a section of its own. 32-bit Arm, POWER and others have lines for
// the whole machine before or after.
type CPUSection struct {
	// CPU is the host's number of the CPU, or AllCPUs.
	CPU int
	// Pieces make up the text.
	Pieces []CPUPiece
}

// CPUPiece is a text and the number that follows it.
type CPUPiece struct {
	Text   []byte
	Number CPUField
}

// ParseCpuinfo reads the text of /proc/cpuinfo, which it keeps.
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

// cpuinfoParser cuts a text into sections: text[start:pos] has been read and is not yet in a piece of the section cur.
type cpuinfoParser struct {
	text       []byte
	start, pos int
	cur        CPUSection
	out        Cpuinfo
	// inBlock tells that cur ends with a blank line.
	inBlock bool
}

// blankLine ends a CPU's section, to which it belongs; but on s390x the kernel begins a section with it.
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

// line reads a line that is not blank.
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

// field tells which number a line of the current section has.
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

// piece adds the text up to end, and the number after it, to the current section.
func (c *cpuinfoParser) piece(end int, n CPUField) {
	if c.cur.Pieces == nil {
		c.cur.Pieces = make([]CPUPiece, 0, 8)
	}
	c.cur.Pieces = append(c.cur.Pieces, CPUPiece{c.text[c.start:end:end], n})
	c.start = end
}

// begin ends the current section at pos, if there is anything in it, and begins one of the CPU.
func (c *cpuinfoParser) begin(cpu int) {
	if c.start < c.pos {
		c.piece(c.pos, CPUNone)
	}
	if len(c.cur.Pieces) > 0 {
		c.out.Sections = append(c.out.Sections, c.cur)
	}
	c.cur = CPUSection{CPU: cpu}
}

// splitKey splits a line "key : value"; value has the newline. The key of a line without a colon is empty.
func splitKey(line []byte) (key, value []byte) {
	line, _ = cutLine(line)
	key, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return nil, nil
	}
	return bytes.TrimSpace(key), bytes.TrimLeft(value, " \t")
}

// cpuNumber reads the value of a line as the number of a CPU.
func cpuNumber(value []byte) (int, bool) {
	n, ok := number(bytes.TrimSpace(value))
	return int(n), ok && n <= cpulist.MaxCPU
}

// summaryPrefix begins the line of a CPU in the summary of s390x: "processor 0: version = FF, ...".
const summaryPrefix = "processor "

// summaryCPU reads the number of the CPU from such a line, and tells how many digits it has; 0 if it is another line.
func summaryCPU(line []byte) (cpu, digits int) {
	rest, ok := bytes.CutPrefix(line, []byte(summaryPrefix))
	n, _, isSummary := bytes.Cut(rest, []byte{':'})
	if !ok || !isSummary {
		return 0, 0
	}
	if v, ok := number(n); ok && v <= cpulist.MaxCPU {
		return int(v), len(n)
	}
	return 0, 0
}
