package top

import (
	"bytes"
	"strconv"
	"time"

	"palisade/internal/procfs"
)

// Files of a container's folder that a look needs, in the order of Texts.
var files = [fileCount]string{"stat", "meminfo", "loadavg", "uptime"}

const (
	statFile = iota
	meminfoFile
	loadavgFile
	uptimeFile
	fileCount
)

// texts are the texts of the files; nil where one could not be read.
type texts [fileCount][]byte

// Look is what a container's files say at a moment. Each part is nil where its file says nothing of use.
type Look struct {
	CPU    *CPUTime
	Memory *Memory
	Load   *Load
	Uptime *time.Duration
}

// CPUTime is what /proc/stat says of all CPUs together.
type CPUTime struct {
	// CPUs is how many there are.
	CPUs int
	// Busy is the time in which they were neither idle nor waited for a disk, in ticks of procfs.ClockTick.
	Busy uint64
}

// Memory is what /proc/meminfo says, in bytes.
type Memory struct{ Total, Available, SwapTotal, SwapFree uint64 }

// Load is /proc/loadavg: averages over 1, 5 and 15 minutes, and tasks.
type Load struct {
	Average        [3]float64
	Running, Tasks int
}

// parseLook makes a look of texts.
func parseLook(t *texts) Look {
	return Look{CPU: parseStat(t[statFile]), Memory: parseMeminfo(t[meminfoFile]), Load: parseLoadavg(t[loadavgFile]), Uptime: parseUptime(t[uptimeFile])}
}

// Columns of the first line of /proc/stat, after its key (proc_stat(5)); those from guest on are in user and nice already.
const (
	statIdle   = 3
	statIOWait = 4
	statSteal  = 7
)

// parseStat reads the lines of CPUs, which are the first of /proc/stat; the rest may be missing.
func parseStat(text []byte) *CPUTime {
	var t CPUTime
	seen := false
	for line := range bytes.Lines(text) {
		key, isCPU := bytes.CutPrefix(line, []byte("cpu"))
		switch {
		case !isCPU || !bytes.HasSuffix(line, []byte("\n")):
			continue
		case key[0] != ' ':
			t.CPUs++
			continue
		}
		fields := bytes.Fields(key)
		if len(fields) <= statIdle {
			return nil
		}
		for i, field := range fields[:min(len(fields), statSteal+1)] {
			n, err := strconv.ParseUint(string(field), 10, 64)
			if err != nil {
				return nil
			}
			if i != statIdle && i != statIOWait {
				t.Busy += n
			}
		}
		seen = true
	}
	if !seen || t.CPUs == 0 {
		return nil
	}
	return &t
}

func parseMeminfo(text []byte) *Memory {
	m, err := procfs.ParseMeminfo(text)
	if err != nil {
		return nil
	}
	bytes := func(field procfs.MemField) uint64 { return m.Values[field] * 1024 }
	return &Memory{
		Total: bytes(procfs.MemTotal), Available: bytes(procfs.MemAvailable), SwapTotal: bytes(procfs.MemSwapTotal), SwapFree: bytes(procfs.MemSwapFree),
	}
}

// parseLoadavg reads "0.20 0.18 0.12 1/80 11206" (proc_loadavg(5)).
func parseLoadavg(text []byte) *Load {
	fields := bytes.Fields(text)
	if len(fields) < 4 {
		return nil
	}
	var l Load
	for i := range l.Average {
		var ok bool
		if l.Average[i], ok = parseDecimal(fields[i]); !ok {
			return nil
		}
	}
	running, all, _ := bytes.Cut(fields[3], []byte("/"))
	var err1, err2 error
	l.Running, err1 = strconv.Atoi(string(running))
	l.Tasks, err2 = strconv.Atoi(string(all))
	if err1 != nil || err2 != nil || l.Running < 0 || l.Tasks < 0 {
		return nil
	}
	return &l
}

// parseUptime reads "350735.47 234388.90" (proc_uptime(5)): seconds.
func parseUptime(text []byte) *time.Duration {
	fields := bytes.Fields(text)
	if len(fields) == 0 {
		return nil
	}
	seconds, ok := parseDecimal(fields[0])
	if !ok || seconds > float64(1<<33) { // some centuries: Duration ends there
		return nil
	}
	up := time.Duration(seconds * float64(time.Second)).Round(procfs.ClockTick)
	return &up
}

// parseDecimal reads a number as the kernel writes it: digits, perhaps with a fraction.
func parseDecimal(text []byte) (float64, bool) {
	if len(bytes.Trim(text, "0123456789.")) > 0 {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(text), 64)
	return n, err == nil
}

// CPUPercent is the CPU time that the container has used between two looks, in percent of one CPU; nil where it is not known: the
// looks are not of the same container, or at the same time.
func CPUPercent(before, now *Look) *float64 {
	if before.CPU == nil || now.CPU == nil || before.Uptime == nil || now.Uptime == nil ||
		*now.Uptime <= *before.Uptime || now.CPU.Busy < before.CPU.Busy {
		return nil
	}
	ticks := float64(*now.Uptime-*before.Uptime) / float64(procfs.ClockTick)
	percent := 100 * float64(now.CPU.Busy-before.CPU.Busy) / ticks
	return &percent
}
