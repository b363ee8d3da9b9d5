package top

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
)

// files are the files of a container that a sample needs, in the order of texts.
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

// Values are a sample of a container's files. Those of a missing or invalid file are nil.
type Values struct {
	CPUs *int `json:"cpus"`
	// MemoryUsed is the memory that is not available, MemoryTotal the limit.
	MemoryUsed  *uint64 `json:"memory_used_bytes"`
	MemoryTotal *uint64 `json:"memory_total_bytes"`
	SwapUsed    *uint64 `json:"swap_used_bytes"`
	SwapTotal   *uint64 `json:"swap_total_bytes"`
	// Load are the averages over 1, 5 and 15 minutes.
	Load         *[3]float64 `json:"load"`
	TasksRunning *int        `json:"tasks_running"`
	Tasks        *int        `json:"tasks"`
	Uptime       *float64    `json:"uptime_seconds"`

	// busy is the time of all CPUs other than idle and iowait, in ticks of procfs.ClockTick. It is 0
	// without CPUs.
	busy uint64
}

func parse(t *texts) (v Values) {
	v.parseStat(t[statFile])
	v.parseMeminfo(t[meminfoFile])
	v.parseLoadavg(t[loadavgFile])
	v.parseUptime(t[uptimeFile])
	return v
}

// isKnown reports whether there is any value.
func (v *Values) isKnown() bool {
	return v.CPUs != nil || v.MemoryTotal != nil || v.Load != nil || v.Uptime != nil
}

// Columns of the first line of /proc/stat (proc_stat(5)). The columns from guest on are included in
// user and nice.
const (
	statIdle   = 4
	statIOWait = 5
	statGuest  = 9
)

// parseStat parses the first lines of /proc/stat, those of CPUs. The rest may be missing.
func (v *Values) parseStat(text []byte) {
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line may be cut off
	sum, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(sum)
	cpus := bytes.Count(text, []byte("\ncpu"))
	if cpus == 0 || len(fields) <= statIdle || string(fields[0]) != "cpu" {
		return
	}
	busy := uint64(0)
	for i := 1; i < min(len(fields), statGuest); i++ {
		n, err := strconv.ParseUint(string(fields[i]), 10, 64)
		if err != nil {
			return
		}
		if i != statIdle && i != statIOWait {
			busy += n
		}
	}
	v.CPUs, v.busy = &cpus, busy
}

func (v *Values) parseMeminfo(text []byte) {
	m, err := procfs.ParseMeminfo(text)
	if err != nil {
		return
	}
	bytes := func(field procfs.MemField) uint64 { return m.Values[field] * 1024 }
	total, swap := bytes(procfs.MemTotal), bytes(procfs.MemSwapTotal)
	used := total - min(bytes(procfs.MemAvailable), total)
	swapUsed := swap - min(bytes(procfs.MemSwapFree), swap)
	v.MemoryUsed, v.MemoryTotal, v.SwapUsed, v.SwapTotal = &used, &total, &swapUsed, &swap
}

// parseLoadavg parses "0.20 0.18 0.12 1/80 11206" (proc_loadavg(5)).
func (v *Values) parseLoadavg(text []byte) {
	var a [3]float64
	var running, tasks int
	n, _ := fmt.Sscanf(string(text), "%f %f %f %d/%d", &a[0], &a[1], &a[2], &running, &tasks)
	least := min(a[0], a[1], a[2], float64(running), float64(tasks))
	if n < 5 || !(least >= 0) || math.IsInf(a[0]+a[1]+a[2], 0) { // NaN is not >= 0
		return
	}
	v.Load, v.TasksRunning, v.Tasks = &a, &running, &tasks
}

// ticksPerSecond is the precision of /proc/uptime.
const ticksPerSecond = float64(time.Second / procfs.ClockTick)

// parseUptime parses "350735.47 234388.90" (proc_uptime(5)), in seconds.
func (v *Values) parseUptime(text []byte) {
	var seconds float64
	_, err := fmt.Sscan(string(text), &seconds)
	if err != nil || !(seconds >= 0 && seconds < 1<<33) { // 272 years; a Duration overflows after 292
		return
	}
	seconds = math.Round(seconds*ticksPerSecond) / ticksPerSecond
	v.Uptime = &seconds
}

// cpuPercent returns the CPU time that the container has used between two samples, in percent of
// one CPU. It returns nil if the samples lack it, were taken at the same time or are not of the
// same container.
func cpuPercent(before, now *Values) *float64 {
	if before.CPUs == nil || now.CPUs == nil || before.Uptime == nil || now.Uptime == nil ||
		*now.Uptime <= *before.Uptime || now.busy < before.busy {
		return nil
	}
	percent := 100 * float64(now.busy-before.busy) / ticksPerSecond / (*now.Uptime - *before.Uptime)
	return &percent
}
