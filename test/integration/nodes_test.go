//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"palisade/internal/linux/cpulist"
	"palisade/test/ctr"
)

const nodeDir = "/sys/devices/system/node"

// nodes returns a list of nodes on the host.
func nodes(t *testing.T, file string) cpulist.Set {
	t.Helper()
	var set cpulist.Set
	if err := set.Parse([]byte(hostFile(t, filepath.Join(nodeDir, file)))); err != nil {
		t.Fatal(err)
	}
	return set
}

// requireTwoNodes skips a test on machines with one NUMA node. The virtual machine has two.
func requireTwoNodes(t *testing.T) {
	t.Helper()
	if online := nodes(t, "online"); online.Len() < 2 {
		t.Skipf("needs two NUMA nodes, this machine has %s; make vm runs this test", online)
	}
}

// nodeText returns the lines of a node's meminfo without the words "Node 0 ".
func nodeText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		_, words, _ := strings.Cut(line, " ")
		_, words, _ = strings.Cut(words, " ")
		b.WriteString(words)
	}
	return b.String()
}

// TestNodes checks that the meminfo files of the nodes add up to that of the container.
func TestNodes(t *testing.T) {
	c := start(t, ctr.Options{Memory: 256 * mib, CPUs: "0"})
	var files []string
	online := nodes(t, "online")
	for n := online.Next(0); n >= 0; n = online.Next(n + 1) {
		files = append(files, fmt.Sprintf("%s/node%d/meminfo", nodeDir, n))
	}
	args := append([]string{"load", "steady", "/proc/meminfo"}, files...)
	header := regexp.MustCompile(`(?m)^/.*\n`)
	// The files are not read at the same moment, and the proportions between nodes change.
	waitFor(t, "nodes that add up to the container", func() bool {
		texts, equal := header.Split(inside(t, c, args...), -1)[1:], true
		for _, key := range []string{
			"MemTotal", "MemFree", "AnonPages", "Mapped", "Slab", "Active", "Inactive", "Shmem",
		} {
			var sum uint64
			for _, text := range texts[1:] {
				sum += field(t, nodeText(text), key)
			}
			if want := field(t, texts[0], key); sum != want {
				t.Logf("%s: %d on all nodes, want %d", key, sum, want)
				equal = false
			}
		}
		return equal
	})
	for file, want := range map[string]string{
		"online": online.String() + "\n", "possible": hostFile(t, nodeDir+"/possible"),
		"node0/cpulist": "0\n", "has_cpu": "0\n",
	} {
		if got := inside(t, c, "cat", nodeDir+"/"+file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	if got := inside(t, c, "sh", "-c", "cd "+nodeDir+"; echo node0/cpu[0-9]* $(readlink -f node0/cpu0); find . ! -type l -perm -200"); got != "node0/cpu0 /sys/devices/system/cpu/cpu0\n" {
		t.Errorf("CPUs of node 0, and writable files: %q", got)
	}
	inside(t, c, "sh", "-c", "find "+nodeDir+" -type f -perm -444 -exec cat {} + >/dev/null 2>&1; true")
}

// TestNodesOfCpuset has a container on the second node, with a CPU of each, and moves it to both.
func TestNodesOfCpuset(t *testing.T) {
	requireTwoNodes(t)
	cpus := nodes(t, "node1/cpulist")
	own := cpus.Next(0)
	total := field(t, nodeText(hostFile(t, nodeDir+"/node1/meminfo")), "MemTotal")
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := start(t, ctr.Options{Runtime: runtime, CPUs: fmt.Sprintf("0,%d", own), Nodes: "1"})
		check := func(want map[string]string) {
			t.Helper()
			for command, want := range want {
				if got := inside(t, c, "sh", "-c", "cd "+nodeDir+"; "+command); got != want {
					t.Errorf("%s: %q, want %q", command, got, want)
				}
			}
		}
		check(map[string]string{
			"cat online has_memory has_normal_memory has_cpu": "1\n1\n1\n1\n",
			"cat possible":                                 hostFile(t, nodeDir+"/possible"),
			"echo node[0-9]* node1/cpu[0-9]*":              "node1 node1/cpu1\n",
			"readlink node1/cpu1; readlink -f node1/cpu1":  "../../cpu/cpu1\n/sys/devices/system/cpu/cpu1\n",
			"echo ../cpu/cpu*/node*":                       "../cpu/cpu1/node1\n",
			"cat node1/cpulist node1/distance":             "1\n10\n",
			"sort -u node1/numastat | grep -v ' 0$'; true": "",
			"ls node0 2>&1 | grep -c 'No such file'; true": "1\n",
			"grep -c ^processor /proc/cpuinfo":             "2\n",
			"ls node1 | grep -c ^memory[0-9]; true":        "0\n",
			"cat node1/cpumap | tr -d '0,\n'":              "2",
			"wc -c <node1/cpumap":                          strconv.Itoa(len(hostFile(t, nodeDir+"/node1/cpumap"))) + "\n",
			"cut -d ' ' -f 1,2 node1/meminfo | sort -u":    "Node 1\n",
		})
		// Without a limit the container has the memory of the node.
		if got := memory(t, c, "MemTotal"); got != total {
			t.Errorf("MemTotal %d, want %d, that of the node", got, total)
		}
		if got := field(t, nodeText(inside(t, c, "cat", nodeDir+"/node1/meminfo")), "MemTotal"); got != total {
			t.Errorf("MemTotal of node 1: %d, want %d", got, total)
		}
		dir, err := c.Cgroup("cpuset")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "cpuset.mems"), "0-1")
		check(map[string]string{
			"cat online has_cpu":                              "0-1\n0-1\n",
			"echo node[0-9]* node0/cpu[0-9]* node1/cpu[0-9]*": "node0 node1 node0/cpu0 node1/cpu1\n",
			"cat node0/cpulist node0/distance node1/distance": "0\n10 21\n21 10\n",
		})
		if got, want := memory(t, c, "MemTotal"), field(t, hostFile(t, "/proc/meminfo"), "MemTotal"); got != want {
			t.Errorf("MemTotal %d, want the host's %d", got, want)
		}
	})
}

// TestNodeMemory checks that the memory of a program shows on the node on which it is.
func TestNodeMemory(t *testing.T) {
	requireTwoNodes(t)
	c := start(t, ctr.Options{Memory: 512 * mib, Nodes: "0-1"})
	used := func(key string, node int) uint64 {
		text := inside(t, c, "cat", fmt.Sprintf("%s/node%d/meminfo", nodeDir, node))
		return field(t, nodeText(text), key)
	}
	dir, err := c.Cgroup("cpuset")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []int{1, 0} {
		keys := []string{"FilePages", "Shmem", "MemUsed"}
		before := make(map[string]uint64)
		for _, key := range keys {
			before[key] = used(key, node)
		}
		write(t, filepath.Join(dir, "cpuset.mems"), strconv.Itoa(node))
		inside(t, c, "dd", "if=/dev/zero", fmt.Sprintf("of=/dev/shm/%d", node), "bs=1M", "count=64")
		write(t, filepath.Join(dir, "cpuset.mems"), "0-1")
		// The kernel moves pages to the nodes of the cpuset only on request, and counts in batches.
		const slack = 4 * mib
		for _, key := range keys {
			after := used(key, node)
			if grown := after - before[key]; grown < 64*mib-slack || grown > 64*mib+slack {
				t.Errorf("64 MiB on node %d: %s is %d, before %d", node, key, after, before[key])
			}
		}
	}
}

// TestVmstat checks that counters of a container count what it does, in the host's order of keys.
func TestVmstat(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := start(t, ctr.Options{Runtime: runtime, Memory: 128 * mib})
		keysOf := func(text string) (keys string) {
			for line := range strings.Lines(text) {
				key, _, _ := strings.Cut(line, " ")
				keys += key + "\n"
			}
			return keys
		}
		before := inside(t, c, "cat", "/proc/vmstat")
		if got, want := keysOf(before), keysOf(hostFile(t, "/proc/vmstat")); got != want {
			t.Errorf("keys %q, want %q", got, want)
		}
		inside(t, c, "sh", "-c", "dd if=/dev/zero of=/dev/shm/f bs=1M count=16; for i in 1 2 3 4 5 6 7 8; do cat /dev/shm/f >/dev/null; done")
		after := inside(t, c, "cat", "/proc/vmstat")
		count := func(text, key string) uint64 { return field(t, strings.ReplaceAll(text, " ", ": "), key) }
		page := uint64(os.Getpagesize())
		if got := count(after, "pgfault") - count(before, "pgfault"); got < 500 || got > 100000 {
			t.Errorf("%d page faults by some programs", got)
		}
		if got := (count(after, "nr_shmem") - count(before, "nr_shmem")) * page; got < 14*mib || got > 18*mib {
			t.Errorf("nr_shmem grew by %d bytes, want 16 MiB", got)
		}
		if got := count(after, "nr_free_pages") * page; got > 112*mib || got < 64*mib {
			t.Errorf("nr_free_pages: %d bytes, want less than 112 MiB", got)
		}
		for _, key := range []string{"pgalloc_normal", "pgfree", "numa_hit"} {
			if got := count(after, key); got != 0 {
				t.Errorf("%s is %d, want 0: the host's tells what others do", key, got)
			}
		}
		for line := range strings.Lines(before) {
			key, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			if now := count(after, key); now < n && !strings.HasPrefix(key, "nr_") {
				t.Errorf("%s went from %d to %d", key, n, now)
			}
		}
	})
}
