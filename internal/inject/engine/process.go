package engine

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// startOf returns the start time of a running process, since boot.
func startOf(proc string, pid int) (time.Duration, bool) {
	text, err := sys.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"), nil)
	if err != nil {
		return 0, false
	}
	stat, err := procfs.ParseTaskStat(text)
	if err != nil || stat.State == 'Z' || stat.State == 'X' {
		return 0, false
	}
	return stat.Start, true
}

// isAlive reports whether the container's process still runs, and its pid was not reused.
func isAlive(proc string, f *finding) bool {
	started, ok := startOf(proc, f.PID)
	switch {
	case !ok:
		return false
	case f.started != 0:
		return f.started == started
	case f.known.IsZero():
		return true
	}
	// A process that reuses the pid started later. If the clock was set since, the cgroup decides.
	const slack = time.Minute
	if time.Since(f.known) <= sys.SinceBoot()-started+slack {
		return true
	}
	text, err := sys.ReadFile(filepath.Join(proc, strconv.Itoa(f.PID), "cgroup"), nil)
	return err == nil && f.IsNamedIn(text)
}

// IsNamedIn reports whether a part of a path in the text of /proc/<pid>/cgroup names the container:
// "<id>" or "docker-<id>.scope".
func (c *Container) IsNamedIn(text []byte) bool {
	isEnd := func(r rune) bool { return r == '/' || r == '\n' }
	return slices.ContainsFunc(strings.FieldsFunc(string(text), isEnd), func(part string) bool {
		part = strings.TrimSuffix(part, ".scope")
		return part == c.ID || strings.HasSuffix(part, "-"+c.ID)
	})
}
