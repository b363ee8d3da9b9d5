package top

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
)

// files are the files of a container that a Look needs, in the order of texts.
var files = [fileCount]string{"stat", "meminfo", "loadavg", "uptime"}

const (
	statFile = iota
	meminfoFile
	loadavgFile
	uptimeFile
	fileCount
)

// texts are the contents of files, nil for a file that could not be read.
type texts [fileCount][]byte

// Look is a sample of a container's files. A part is nil if its file is missing or invalid.
type Look struct {
	CPU    *CPUTime
	Memory *Memory
	Load   *Load
	Uptime *time.Duration
}

// CPUTime is the sum over all CPUs in /proc/stat.
type CPUTime struct {
	// CPUs is the number of CPUs.
	CPUs int
	// Busy is the time other than idle and iowait, in ticks of procfs.ClockTick.
	Busy uint64
}

// Memory holds values of /proc/meminfo, in bytes.
type Memory struct{ Total, Available, SwapTotal, SwapFree uint64 }

// Load holds /proc/loadavg: averages over 1, 5 and 15 minutes, and tasks.
type Load struct {
	Average        [3]float64
	Running, Tasks int
}

func parseLook(t *texts) Look {
	return Look{
		CPU: parseStat(t[statFile]), Memory: parseMeminfo(t[meminfoFile]),
		Load: parseLoadavg(t[loadavgFile]), Uptime: parseUptime(t[uptimeFile]),
	}
}

// Columns of the first line of /proc/stat, after its key (proc_stat(5)). The columns from guest on
// are included in user and nice.
const (
	statIdle   = 3
	statIOWait = 4
	statSteal  = 7
)

// parseStat parses the first lines of /proc/stat, those of CPUs. The rest may be missing.
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
		Total: bytes(procfs.MemTotal), Available: bytes(procfs.MemAvailable),
		SwapTotal: bytes(procfs.MemSwapTotal), SwapFree: bytes(procfs.MemSwapFree),
	}
}

// parseLoadavg parses "0.20 0.18 0.12 1/80 11206" (proc_loadavg(5)).
func parseLoadavg(text []byte) *Load {
	l := new(Load)
	a := &l.Average
	n, _ := fmt.Sscanf(string(text), "%f %f %f %d/%d", &a[0], &a[1], &a[2], &l.Running, &l.Tasks)
	least := min(a[0], a[1], a[2], float64(l.Running), float64(l.Tasks))
	if n < 5 || !(least >= 0) || math.IsInf(a[0]+a[1]+a[2], 0) { // NaN is not >= 0
		return nil
	}
	return l
}

// parseUptime parses "350735.47 234388.90" (proc_uptime(5)), in seconds.
func parseUptime(text []byte) *time.Duration {
	var seconds float64
	_, err := fmt.Sscan(string(text), &seconds)
	if err != nil || !(seconds >= 0 && seconds < 1<<33) { // 272 years; a Duration overflows after 292
		return nil
	}
	up := time.Duration(seconds * float64(time.Second)).Round(procfs.ClockTick)
	return &up
}

// CPUPercent returns the CPU time that the container has used between two samples, in percent of
// one CPU. It returns nil if the samples lack it, were taken at the same time or are not of the
// same container.
func CPUPercent(before, now *Look) *float64 {
	if before.CPU == nil || now.CPU == nil || before.Uptime == nil || now.Uptime == nil ||
		*now.Uptime <= *before.Uptime || now.CPU.Busy < before.CPU.Busy {
		return nil
	}
	ticks := float64(*now.Uptime-*before.Uptime) / float64(procfs.ClockTick)
	percent := 100 * float64(now.CPU.Busy-before.CPU.Busy) / ticks
	return &percent
}
