package doctor

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// controllers are the controllers that lxcfs reads, by their names in v1 and v2, and the values
// that are the host's without them. In v2 every cgroup has cpu.stat, also without a controller
// (Documentation/admin-guide/cgroup-v2.rst).
var controllers = []struct{ v1, v2, shows string }{
	{"memory", "memory", "meminfo and swaps"},
	{"cpu", "cpu", "the number of CPUs that a limit of time allows"},
	{"cpuset", "cpuset", "the list of CPUs"},
	{"cpuacct", "", "the times of the CPUs, and the load"},
	{"blkio", "io", "diskstats"},
}

// hierarchies are the mounted cgroup hierarchies.
type hierarchies struct {
	// v1 contains the mounted controllers of version 1, v2 is the mount point of version 2.
	v1 map[string]bool
	v2 string
}

// layout returns "v1", "v2" or "hybrid".
func (h *hierarchies) layout() string {
	switch {
	case len(h.v1) == 0:
		return "v2"
	case h.v2 == "":
		return "v1"
	}
	return "hybrid"
}

// checkCgroups checks that lxcfs can read limits (cgroups(7)).
func checkCgroups(_ context.Context, w *World, r *Report) {
	h, err := w.hierarchies()
	if err != nil {
		r.add(
			CgroupMissing, "/proc/thread-self/mountinfo", command("mount -t proc proc /proc"),
			"%v: mounted cgroups are unknown", err,
		)
		return
	}
	if len(h.v1) == 0 && h.v2 == "" {
		r.add(
			CgroupMissing, "/sys/fs/cgroup", command("mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
			"no cgroups are mounted: no limit is seen",
		)
		return
	}
	r.version("cgroups", h.layout())
	before := len(r.Findings)
	has, passed := w.words(h.v2, "cgroup.controllers"), w.words(h.v2, "cgroup.subtree_control")
	known := w.knownControllers()
	for _, c := range controllers {
		switch {
		case h.v1[c.v1], slices.Contains(has, c.v2) && slices.Contains(passed, c.v2),
			c.v2 == "" && len(h.v1) == 0:
		case slices.Contains(has, c.v2):
			w.addOff(r, filepath.Join(h.v2, "cgroup.subtree_control"), c.v2, c.shows)
		case known[c.v1] && len(h.v1) > 0:
			dir := "/sys/fs/cgroup/" + c.v1
			r.add(
				CgroupController, c.v1,
				command("mkdir -p %[1]s && mount -t cgroup -o %[2]s %[2]s %[1]s", dir, c.v1),
				"it is not mounted: containers see the host's for %s", c.shows,
			)
		default:
			r.add(
				CgroupController, c.v1,
				advice("boot a kernel that has it, and without cgroup_disable=%s", c.v1),
				"the kernel does not have it, or it is disabled: containers see the host's for %s", c.shows,
			)
		}
	}
	if len(r.Findings) == before {
		r.fine(CgroupOK, "cgroups "+h.layout(), "all controllers are there")
	}
}

// addOff adds that a controller of v2 is not enabled for cgroups. systemd enables it when a unit or
// a container needs it, and disables it otherwise.
func (w *World) addOff(r *Report, file, controller, shows string) {
	if w.exists("/run/systemd/system") {
		r.add(
			CgroupIdle, controller,
			advice("start a container with a limit, and run palisade doctor again"),
			"no unit uses it, so systemd does not enable it in %s; "+
				"containers without it see the host's for %s",
			file, shows,
		)
		return
	}
	r.add(
		CgroupOff, controller, command("echo +%s >%s", controller, quote(file)),
		"%s does not have it: containers see the host's for %s", file, shows,
	)
}

// hierarchies returns the hierarchies in the mount table.
func (w *World) hierarchies() (*hierarchies, error) {
	h := &hierarchies{v1: make(map[string]bool)}
	mounted, err := w.mounts(
		func(m *mountinfo.Info) bool { return m.FSType == "cgroup" || m.FSType == "cgroup2" },
	)
	if err != nil {
		return nil, fmt.Errorf("parse the mount table: %w", err)
	}
	for _, m := range mounted {
		if m.FSType == "cgroup2" {
			h.v2 = m.Mountpoint
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if slices.ContainsFunc(
				controllers[:], func(c struct{ v1, v2, shows string }) bool { return c.v1 == option },
			) {
				h.v1[option] = true
			}
		}
	}
	return h, nil
}

// words returns the words of a file of cgroup v2, none if it does not exist.
func (w *World) words(dir, name string) []string {
	if dir == "" {
		return nil
	}
	text, err := w.read(filepath.Join(dir, name), maxConfig)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// knownControllers returns the controllers that the kernel has and that are enabled
// (/proc/cgroups).
func (w *World) knownControllers() map[string]bool {
	known := make(map[string]bool)
	text, err := w.read("/proc/cgroups", maxConfig)
	if err != nil {
		return known
	}
	for line := range bytes.Lines(text) {
		// The name, the hierarchy, the number of cgroups, and whether it is enabled.
		if f := strings.Fields(string(line)); len(f) == 4 && f[3] == "1" {
			known[f[0]] = true
		}
	}
	return known
}
