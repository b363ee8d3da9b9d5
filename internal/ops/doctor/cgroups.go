package doctor

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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

// checkCgroups checks that lxcfs can read limits (cgroups(7)).
func checkCgroups(_ context.Context, w *World, r *Report) {
	v1, v2, err := w.hierarchies()
	if err != nil {
		r.error("cgroup-missing", "/proc/thread-self/mountinfo", command("mount -t proc proc /proc"),
			"%v: mounted cgroups are unknown", err)
		return
	}
	layout := "hybrid"
	switch {
	case len(v1) == 0 && v2 == "":
		r.error("cgroup-missing", "/sys/fs/cgroup", command("mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
			"no cgroups are mounted: limits are unknown")
		return
	case len(v1) == 0:
		layout = "v2"
	case v2 == "":
		layout = "v1"
	}
	r.version("cgroups", layout)
	has, passed := w.words(v2, "cgroup.controllers"), w.words(v2, "cgroup.subtree_control")
	enabled := w.enabledControllers()
	for _, c := range controllers {
		switch {
		case v1[c.v1], slices.Contains(has, c.v2) && slices.Contains(passed, c.v2),
			c.v2 == "" && len(v1) == 0:
		case slices.Contains(has, c.v2):
			w.addOff(r, filepath.Join(v2, "cgroup.subtree_control"), c.v2, c.shows)
		case enabled[c.v1] && len(v1) > 0:
			r.warn("cgroup-controller-missing", c.v1,
				command("mkdir -p %[1]s && mount -t cgroup -o %[2]s %[2]s %[1]s",
					"/sys/fs/cgroup/"+c.v1, c.v1),
				"it is not mounted: containers see the host's values of %s", c.shows)
		default:
			r.warn("cgroup-controller-missing", c.v1,
				advice("boot a kernel that has it, and without cgroup_disable=%s", c.v1),
				"the kernel does not have it, or it is disabled: containers see the host's values of %s",
				c.shows)
		}
	}
	if len(r.Findings) == 0 {
		r.fine("cgroup-ok", "cgroups "+layout, "all controllers are available")
	}
}

// addOff adds that a controller of v2 is not enabled for cgroups. systemd enables it when a unit or
// a container needs it, and disables it otherwise.
func (w *World) addOff(r *Report, file, controller, shows string) {
	if w.exists(systemdDir) {
		r.info("cgroup-controller-idle", controller,
			advice("start a container with a limit, and run palisade doctor again"),
			"no unit uses it, so systemd does not enable it in %s; "+
				"containers without it see the host's values of %s", file, shows)
		return
	}
	r.warn("cgroup-controller-off", controller, command("echo +%s >%s", controller, quote(file)),
		"%s does not have it: containers see the host's values of %s", file, shows)
}

// hierarchies returns the mounted controllers of v1, and the mount point of v2.
func (w *World) hierarchies() (v1 map[string]bool, v2 string, err error) {
	mounted, err := w.mounts("cgroup", "cgroup2")
	if err != nil {
		return nil, "", fmt.Errorf("parse the mount table: %w", err)
	}
	v1 = make(map[string]bool)
	for _, m := range mounted {
		if m.FSType == "cgroup2" {
			v2 = m.Mountpoint
			continue
		}
		options := strings.Split(m.VFSOptions, ",")
		for _, c := range controllers {
			if slices.Contains(options, c.v1) {
				v1[c.v1] = true
			}
		}
	}
	return v1, v2, nil
}

// words returns the words of a file of cgroup v2, none if it does not exist.
func (w *World) words(dir, name string) []string {
	if dir == "" {
		return nil
	}
	text, _ := w.read(filepath.Join(dir, name), maxConfig)
	return strings.Fields(string(text))
}

// enabledControllers returns the controllers of v1 that the kernel has and that are enabled
// (/proc/cgroups).
func (w *World) enabledControllers() map[string]bool {
	enabled := make(map[string]bool)
	text, _ := w.read("/proc/cgroups", maxConfig)
	for line := range bytes.Lines(text) {
		// The name, the hierarchy, the number of cgroups, and whether it is enabled.
		if f := strings.Fields(string(line)); len(f) == 4 && f[3] == "1" {
			enabled[f[0]] = true
		}
	}
	return enabled
}
