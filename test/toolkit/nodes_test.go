//go:build integration

package toolkit

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"palisade/internal/inject/mounts"
	"palisade/test/ctr"
)

const nodeDir = "/" + mounts.NodeDir

// TestNodeDirectory checks what programs show of NUMA nodes: with one node the container's memory
// and its only CPU on it, and with two only the second, to which the container is bound.
func TestNodeDirectory(t *testing.T) {
	h := newHost(t)
	h.start(t)
	online, err := os.ReadFile(nodeDir + "/online")
	if err != nil {
		t.Fatal(err)
	}
	node, cpu := 0, 0
	if strings.TrimSpace(string(online)) != "0" {
		node = 1
		list, err := os.ReadFile(nodeDir + "/node1/cpulist")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscan(string(list), &cpu)
	}
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for name, o := range map[string]ctr.Options{
			"mount":          {},
			"user namespace": {UserOffset: 100000},
		} {
			t.Run(name, func(t *testing.T) {
				o.Runtime, o.Memory, o.CPUs, o.Nodes = runtime, 64*mib, fmt.Sprint(cpu), fmt.Sprint(node)
				c := h.container(t, o)
				for _, tt := range []struct{ command, want string }{
					{"cat " + nodeDir + "/online", fmt.Sprintf("%d\n", node)},
					{"lscpu | grep ^NUMA | tr -d ' '", fmt.Sprintf("NUMAnode(s):1\nNUMAnode%dCPU(s):0\n", node)},
					{"numactl --hardware | grep -v free", fmt.Sprintf("available: 1 nodes (%d)\nnode %d cpus: 0\nnode %d size: 64 MB\n"+
						"node distances:\nnode   %d \n  %d:  10 \n", node, node, node, node, node)},
					{`lstopo-no-graphics --of console | grep -o 'Machine ([^)]*)\|NUMANode L#0 ([^)]*)\|Core L#.*'`,
						fmt.Sprintf("Machine (64MB total)\nNUMANode L#0 (P#%d 64MB)\nCore L#0 + PU L#0 (P#0)\n", node)},
				} {
					if got := inside(t, c, "sh", "-c", tt.command); got != tt.want {
						t.Errorf("%s: got %q, want %q", tt.command, got, tt.want)
					}
				}
				if o.UserOffset == 0 {
					inside(t, c, "mount", "-o", "remount,rw", "/sys") // as in privileged containers
				}
				// Only open the files: a write would move or reclaim the host's memory.
				script := "for f in DIR/node*/compact DIR/node*/reclaim DIR/node*/hugepages/*/nr_hugepages; do ! [ -e $f ] || ! true >>$f || echo $f; done 2>/dev/null; true"
				if out := inside(t, c, "sh", "-c", strings.ReplaceAll(script, "DIR", nodeDir)); out != "" {
					t.Errorf("can be opened for writing: %q", out)
				}
			})
		}
	})
}
