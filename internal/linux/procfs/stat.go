package procfs

import (
	"bytes"
	"errors"

	"palisade/internal/linux/ktext"
)

// StatField is a line of /proc/stat whose values differ in a container.
type StatField uint8

const (
	// StatOther is any other line: intr, ctxt, softirq, and lines of newer kernels.
	StatOther StatField = iota
	// StatCPUs is the line "cpu", which the lines of the single CPUs follow.
	StatCPUs
	// StatProcesses is "processes", the number of forks.
	StatProcesses
	// StatRunning is "procs_running".
	StatRunning
	// StatBlocked is "procs_blocked".
	StatBlocked
	// StatBootTime is "btime".
	StatBootTime
)

// Stat is /proc/stat without the lines of single CPUs.
type Stat struct {
	// Lines are in the kernel's order.
	Lines []StatLine
	// Columns is the number of columns in a line of a CPU: 10 since Linux 2.6.33.
	Columns int
	// BootTime is the value of "btime": the time of boot, in seconds since 1970.
	BootTime uint64
}

// StatLine is a line of /proc/stat.
type StatLine struct {
	Field StatField
	// Text is the whole line of StatOther with its newline, otherwise the key.
	Text []byte
}

// ParseStat parses /proc/stat. The result refers to text.
func ParseStat(text []byte) (*Stat, error) {
	s := new(Stat)
	for line := range bytes.Lines(text) {
		key, rest := ktext.Field(line)
		if isCPUKey(key) {
			continue
		}
		l := StatLine{Field: statFields[string(key)], Text: line}
		if l.Field == StatCPUs {
			s.Columns = countFields(rest)
		}
		if l.Field == StatBootTime {
			value, _ := ktext.Field(rest)
			var ok bool
			if s.BootTime, ok = ktext.Number(value); !ok {
				l.Field = StatOther
			}
		}
		if l.Field != StatOther {
			l.Text = line[:len(line)-len(rest)]
		}
		s.Lines = append(s.Lines, l)
	}
	if s.Columns == 0 {
		return nil, errors.New("no cpu line")
	}
	return s, nil
}

// statFields holds the keys of the fields.
var statFields = map[string]StatField{
	"cpu": StatCPUs, "processes": StatProcesses, "procs_running": StatRunning,
	"procs_blocked": StatBlocked, "btime": StatBootTime,
}

// isCPUKey reports whether the key is that of a single CPU, such as "cpu0".
func isCPUKey(key []byte) bool {
	n, isCPU := bytes.CutPrefix(key, []byte("cpu"))
	_, isNumber := ktext.Number(n)
	return isCPU && isNumber
}
