package clients

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const mib = 1 << 20

// Limits of the containers, beside one CPU.
const (
	memoryLimit = 512 * mib
	swapLimit   = 128 * mib
)

// facts describes a container and its host.
type facts struct {
	hostSwap        uint64
	started, booted time.Time
	// now is the time at which the client was run.
	now time.Time
	// disks lists the names in the container's /proc/diskstats.
	disks []string
	// interrupts is the number of interrupts of the host since its boot.
	interrupts float64
}

// judge compares the output of a client with the facts, and returns a verdict: "right", with the
// figure if it is the same on all machines, or "wrong" and whose figure it is.
type judge func(f *facts, output string) string

const (
	hosts   = "wrong: the host's"
	neither = "wrong: neither the container's nor the host's"
	nothing = "wrong: nothing"
)

// numbers returns the numbers in the groups of the first match.
func numbers(output, pattern string) (all []float64) {
	for i, text := range regexp.MustCompile(pattern).FindStringSubmatch(output) {
		if n, err := strconv.ParseFloat(text, 64); i > 0 && err == nil {
			all = append(all, n)
		}
	}
	return all
}

// size judges the sum of the groups of pattern, in units of unit bytes.
func size(pattern string, unit float64, want func(*facts) uint64) judge {
	return func(f *facts, output string) string {
		found := numbers(output, pattern)
		if len(found) == 0 {
			return nothing
		}
		sum := 0.0
		for _, n := range found {
			sum += n * unit
		}
		limit := float64(want(f))
		switch {
		case math.Abs(sum-limit) <= limit/100:
			return fmt.Sprintf("right: %.0f MiB", limit/mib)
		case sum > limit:
			return hosts
		}
		return neither
	}
}

func memory(pattern string, unit float64) judge {
	return size(pattern, unit, func(*facts) uint64 { return memoryLimit })
}

func swap(pattern string, unit float64) judge {
	return size(pattern, unit, func(f *facts) uint64 { return min(swapLimit, f.hostSwap) })
}

// cpus judges the number in the group of pattern.
func cpus(pattern string) judge {
	return func(_ *facts, output string) string {
		found := numbers(output, pattern)
		if len(found) == 0 {
			return nothing
		}
		return oneCPU(int(found[0]))
	}
}

// cpuList judges the number of different matches of pattern, or of its group if it has one.
func cpuList(pattern string) judge {
	return func(_ *facts, output string) string {
		found := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(output, -1) {
			found[m[len(m)-1]] = true
		}
		return oneCPU(len(found))
	}
}

// goMaxProcs judges the number in the group of pattern: Go takes 2 for a quota of less than two
// CPUs.
func goMaxProcs(pattern string) judge {
	return func(_ *facts, output string) string {
		found := numbers(output, pattern)
		switch {
		case len(found) == 0:
			return nothing
		case found[0] == 1:
			return "right: 1 CPU"
		case found[0] == 2:
			return "right: 2 CPUs, the least in Go"
		}
		return hosts
	}
}

func oneCPU(n int) string {
	switch n {
	case 0:
		return nothing
	case 1:
		return "right: 1 CPU"
	}
	return hosts
}

// since judges a time in seconds since 1970 at which a machine, or a process, has started.
func since(pattern string) judge {
	return func(f *facts, output string) string {
		found := numbers(output, pattern)
		if len(found) == 0 {
			return nothing
		}
		return f.whose(time.Unix(int64(found[0]), 0))
	}
}

var upTime = regexp.MustCompile(`\bup +(?:(\d+) days?, +)?(?:(\d+):(\d+)|(\d+) min)`)

// up judges the time after "up" in the output of uptime(1) and others.
func up(f *facts, output string) string {
	m := upTime.FindStringSubmatch(output)
	if m == nil {
		return nothing
	}
	minutes := 0
	for i, unit := range []int{24 * 60, 60, 1, 1} {
		n, _ := strconv.Atoi(m[i+1]) // "" is 0
		minutes += n * unit
	}
	return f.whose(f.now.Add(-time.Duration(minutes) * time.Minute))
}

// whose returns the verdict on a start time: whether the container's or the host's is nearer.
func (f *facts) whose(t time.Time) string {
	if t.Sub(f.started).Abs() < t.Sub(f.booted).Abs() {
		return "right"
	}
	return hosts
}

// withLoad returns a command that prints the load averages in the container's and in the host's
// file before and after command.
func withLoad(command string) string {
	const files = "cat /proc/loadavg /loadavg"
	return files + "; " + command + "; " + files
}

// load judges the load averages in the groups of pattern by the file with the nearest ones. Those
// of the host and of the container differ, if only by the tests.
func load(pattern string) judge {
	return func(_ *facts, output string) string {
		lines := strings.Split(strings.TrimSpace(output), "\n")
		n := len(lines)
		if n < 5 {
			return nothing
		}
		found := numbers(strings.Join(lines[2:n-2], "\n"), pattern)
		if len(found) != 3 {
			return nothing
		}
		distance := func(files ...string) float64 {
			least := math.Inf(1)
			for _, text := range files {
				sum := 0.0
				for i, average := range numbers(text, `^(\S+) (\S+) (\S+) `) {
					sum += math.Abs(average - found[i])
				}
				least = min(least, sum)
			}
			return least
		}
		if distance(lines[0], lines[n-2]) < distance(lines[1], lines[n-1]) {
			return "right"
		}
		return hosts
	}
}

// recent judges the age in seconds of a process that started a few seconds ago.
func recent(pattern string) judge {
	return func(_ *facts, output string) string {
		found := numbers(output, pattern)
		switch {
		case len(found) == 0:
			return nothing
		case found[0] <= 60:
			return "right"
		}
		return "wrong: more than a century"
	}
}

// busy judges the share of a CPU that a busy loop has used.
func busy(pattern string) judge {
	return func(_ *facts, output string) string {
		found := numbers(output, pattern)
		switch {
		case len(found) == 0:
			return nothing
		case found[0] > 1:
			return "right"
		}
		return "wrong: 0 % for a busy process"
	}
}

// interrupts judges the average number of interrupts per second.
func interrupts(pattern string) judge {
	return func(f *facts, output string) string {
		found := numbers(output, pattern)
		if len(found) == 0 || found[0] <= 0 {
			return nothing
		}
		distance := func(start time.Time) float64 {
			return math.Abs(math.Log(found[0] / (f.interrupts / f.now.Sub(start).Seconds())))
		}
		if distance(f.booted) < distance(f.started) {
			return hosts
		}
		return "wrong: the host's since its boot, divided by the container's age"
	}
}

// disks judges the names in the group of pattern.
func disks(pattern string) judge {
	return func(f *facts, output string) string {
		var names []string
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(output, -1) {
			names = append(names, found[1])
		}
		slices.Sort(names)
		switch {
		case len(names) == 0:
			return nothing
		case slices.Equal(slices.Compact(names), f.disks):
			return "right"
		}
		return hosts
	}
}

// whole judges the output of a command that copying returned.
func whole(_ *facts, output string) string {
	if strings.HasSuffix(strings.TrimSpace(output), "whole") {
		return "right: the whole text"
	}
	return "wrong: fails, or not the whole text"
}

// copying returns a command that runs one that copies /proc/cpuinfo to the file copy, and compares
// the two.
func copying(command string) string {
	return "rm -f copy && timeout 10 " + command + " && cmp copy /proc/cpuinfo && echo whole"
}
