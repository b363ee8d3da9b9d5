//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// Paths in a container that starts other containers.
const (
	nestRuntime = "/mnt/runtime"
	nestBundles = "/mnt/bundles"
)

// delegate moves the processes of a container into a child cgroup, so that on cgroup v2 it can
// create others, as Docker's image for Docker in Docker does.
const delegate = `cd /sys/fs/cgroup
case $(cat cgroup.controllers /proc/1/cgroup 2>/dev/null) in *" "*0::/|*" "*0::/init)
	mkdir -p init; for pid in $(cat cgroup.procs); do echo $pid >init/cgroup.procs; done
	for c in cpuset cpu memory pids; do echo +$c >cgroup.subtree_control; done
esac
`

// nesting returns the options of a container that can start others with the runtime and bundles.
func nesting(runtime, bundles string, o ctr.Options) ctr.Options {
	for destination, source := range map[string]string{
		nestRuntime: runtime, nestBundles: bundles, "/lib": "/lib", "/lib64": "/lib64",
	} {
		o.Mounts = append(o.Mounts, specs.Mount{
			Destination: destination, Type: "bind", Source: source, Options: []string{"rbind"},
		})
	}
	o.Mounts = append(o.Mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"rw"},
	})
	o.Capabilities = []string{"CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SETPCAP", "CAP_SYS_CHROOT"}
	return o
}

// execNested returns the command that runs args in the container id, for the container that started
// it.
func execNested(id string, args ...string) []string {
	return append([]string{nestRuntime, "--root", "/tmp/state", "exec", id}, args...)
}

// startNested starts the container id inside c. around is the command prefix that runs a program in
// the container that starts it.
func startNested(
	t *testing.T, c *ctr.Container, around []string, bundles, id string, o ctr.Options,
) {
	t.Helper()
	bundle := filepath.Join(bundles, id)
	o.Rootfs, o.ReadOnly, o.Lxcfs, o.Hooks = "rootfs", true, ctr.MountDir, &specs.Hooks{}
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	copyRootfs := exec.Command("cp", "-a", shared.rootfs, filepath.Join(bundle, "rootfs"))
	if out, err := copyRootfs.CombinedOutput(); err != nil {
		t.Fatalf("copy the root file system: %v: %s", err, out)
	}
	if err := o.WriteConfig(bundle, id); err != nil {
		t.Fatal(err)
	}
	script := delegate + strings.Join([]string{
		nestRuntime, "--root /tmp/state run --detach --bundle", nestBundles + "/" + id, id,
		"</dev/null >/tmp/log 2>&1 || cat /tmp/log",
	}, " ")
	if out := inside(t, c, append(around, "sh", "-c", script)...); out != "" {
		t.Fatalf("start container %s: %s", id, out)
	}
}

// TestNested checks that nested containers, with and without cgroup namespaces, see the lowest of
// their own limits and those of the containers around them.
func TestNested(t *testing.T) {
	runtime, err := exec.LookPath(runtimes()[0])
	if err != nil {
		t.Fatal(err)
	}
	low := [3]ctr.Options{
		{Memory: 256 * mib}, {Memory: limit, Quota: 100000}, {Memory: 64 * mib, Quota: 100000},
	}
	high := [3]ctr.Options{{Memory: limit, Quota: 100000}, {Memory: 128 * mib}, {Memory: 256 * mib}}
	lowMem, lowCPUs := [3]uint64{256 * mib, limit, 64 * mib}, [3]int{hostCPUs(), 1, 1}
	for _, tt := range []struct {
		name     string
		cgroupNS [3]bool // of the containers, the outermost first
		limits   [3]ctr.Options
		memory   [3]uint64
		cpus     [3]int
	}{
		{"the outermost's is shared", [3]bool{true}, low, lowMem, lowCPUs},
		{"higher limits inside", [3]bool{true}, high, [3]uint64{limit, limit, limit}, [3]int{1, 1, 1}},
		{"the second's is shared", [3]bool{false, true}, low, lowMem, lowCPUs},
		{"one each", [3]bool{true, true, true}, low, lowMem, lowCPUs},
		{"none", [3]bool{}, low, lowMem, lowCPUs},
	} {
		if ctr.OnV2() && !tt.cgroupNS[0] {
			continue // the inner cgroups would be siblings of the outermost
		}
		t.Run(tt.name, func(t *testing.T) {
			bundles, options := t.TempDir(), tt.limits
			for i := range options {
				options[i].CgroupNamespace = tt.cgroupNS[i]
			}
			outermost := nesting(runtime, bundles, options[0])
			outermost.Runtime = runtimes()[0]
			c := start(t, outermost)
			second := nesting(nestRuntime, nestBundles, options[1])
			startNested(t, c, nil, bundles, "second", second)
			startNested(t, c, execNested("second"), bundles, "third", options[2])
			inSecond := execNested("second")
			inThird := execNested("second", execNested("third")...)
			for i, around := range [][]string{nil, inSecond, inThird} {
				for _, sandbox := range [][]string{nil, {"unshare", "-p", "-f"}} {
					read := func(file string) string {
						args := slices.Concat(around, sandbox, []string{"cat", ctr.MountDir + file})
						return inside(t, c, args...)
					}
					if got := seen(t, read("/proc/meminfo")); got != tt.memory[i] {
						t.Errorf("container %d %v: MemTotal %d, want %d", i, sandbox, got, tt.memory[i])
					}
					if got := processors(read("/proc/cpuinfo")); got != tt.cpus[i] {
						t.Errorf("container %d %v: %d processors, want %d", i, sandbox, got, tt.cpus[i])
					}
				}
			}
		})
	}
}
