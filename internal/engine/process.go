package engine

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// startOf is when a process that runs started, since boot.
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

// isAlive tells whether the process is still that of the container, and not another one that has got its pid.
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
	// Whoever has got the pid since started later. The clock may have been set since: then the cgroup tells.
	const slack = time.Minute
	if time.Since(f.known) <= sys.SinceBoot()-started+slack {
		return true
	}
	text, err := sys.ReadFile(filepath.Join(proc, strconv.Itoa(f.PID), "cgroup"), nil)
	return err == nil && isCgroupOf(string(text), f.ID)
}

// isCgroupOf tells whether a part of a path in /proc/<pid>/cgroup is the container's: "<id>" or "docker-<id>.scope".
func isCgroupOf(text, id string) bool {
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\n' }) {
		if part = strings.TrimSuffix(part, ".scope"); part == id || strings.HasSuffix(part, "-"+id) {
			return true
		}
	}
	return false
}
