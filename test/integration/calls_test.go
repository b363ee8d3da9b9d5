//go:build integration

package integration

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/probe"
	"palisade/test/ctr"
)

// callsFilter returns a filter that passes the calls on to the lxcfs of the daemon.
func callsFilter(d *ctr.Daemon) *specs.LinuxSeccomp {
	dir := filepath.Join(filepath.Dir(d.Mountpoint), "run")
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		ListenerPath:  filepath.Join(probe.RuntimeDir(dir, d.Mountpoint), probe.CallsSocket),
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"sysinfo", "sched_getaffinity"}, Action: specs.ActNotify},
		},
	}
}

// callsOf returns the results of `load calls` in a container, by name.
func callsOf(t *testing.T, c *ctr.Container, pids ...string) map[string]string {
	t.Helper()
	values := make(map[string]string)
	for line := range strings.Lines(inside(t, c, append([]string{"load", "calls"}, pids...)...)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "affinity" {
			pid, rest, _ := strings.Cut(value, " ")
			name, value = name+" "+pid, rest
		}
		values[name] = value
	}
	return values
}

// TestSysinfo compares the results of sysinfo(2) with the files of lxcfs.
func TestSysinfo(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := start(t, ctr.Options{Runtime: runtime, Memory: 64 * mib, Seccomp: callsFilter(shared.daemon)})
		got := callsOf(t, c)
		meminfo := inside(t, c, "cat", "/proc/meminfo")
		kB := func(name string) string {
			for line := range strings.Lines(meminfo) {
				if f := strings.Fields(line); f[0] == name+":" {
					n, _ := strconv.Atoi(f[1])
					return strconv.Itoa(n * 1024)
				}
			}
			return "0"
		}
		for name, want := range map[string]string{
			"totalram": strconv.Itoa(64 * mib), "totalswap": kB("SwapTotal"), "bufferram": kB("Buffers"), "unit": "1",
		} {
			if got[name] != want {
				t.Errorf("%s is %s, want %s", name, got[name], want)
			}
		}
	})
}
