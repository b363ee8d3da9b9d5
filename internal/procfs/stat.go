package procfs

import (
	"bytes"
	"errors"
)

// StatField names a line of /proc/stat that a container has a value of its own for.
type StatField uint8

const (
	// StatOther is a line that stays as it is: intr, ctxt, btime, softirq, and what the kernel may add.
	StatOther StatField = iota
	// StatCPUs is the line "cpu", after which the lines of the single CPUs are to stand.
	StatCPUs
	// StatProcesses is "processes", the number of forks.
	StatProcesses
	// StatRunning is "procs_running".
	StatRunning
	// StatBlocked is "procs_blocked".
	StatBlocked
)

// Stat is /proc/stat without the lines of single CPUs.
type Stat struct {
	// Lines are the lines in the kernel's order.
	Lines []StatLine
	// Columns is how many numbers there are on a line of a CPU: 10 since Linux 2.6.33.
	Columns int
}

// StatLine is a line of /proc/stat.
type StatLine struct {
	Field StatField
	// Text is the whole line of StatOther, with its newline; else what stands before the number.
	Text []byte
}

// ParseStat reads the text of /proc/stat, which it keeps.
func ParseStat(text []byte) (*Stat, error) {
	s := new(Stat)
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		if isCPUKey(key) {
			continue
		}
		l := StatLine{Field: statField(key), Text: line}
		if l.Field == StatCPUs {
			s.Columns = countFields(rest)
		}
		if l.Field != StatOther {
			l.Text = line[:len(line)-len(rest)]
		}
		s.Lines = append(s.Lines, l)
	}
	if s.Columns == 0 {
		return nil, errors.New("no line of all CPUs")
	}
	return s, nil
}

func statField(key []byte) StatField {
	switch string(key) {
	case "cpu":
		return StatCPUs
	case "processes":
		return StatProcesses
	case "procs_running":
		return StatRunning
	case "procs_blocked":
		return StatBlocked
	}
	return StatOther
}

// isCPUKey tells whether the key is that of a single CPU: "cpu0".
func isCPUKey(key []byte) bool {
	n, ok := bytes.CutPrefix(key, []byte("cpu"))
	if !ok || len(n) == 0 {
		return false
	}
	for _, c := range n {
		if !isDigit(c) {
			return false
		}
	}
	return true
}
