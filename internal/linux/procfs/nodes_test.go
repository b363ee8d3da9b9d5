package procfs

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/linux/cpulist"
)

// numaHosts are the directories of testdata with the files of NUMA nodes, and the numbers of nodes.
var numaHosts = map[string]int{"6.18-x86_64": 1, "6.1-x86_64-numa": 2}

func TestNodeMeminfoRoundTrip(t *testing.T) {
	for host, count := range numaHosts {
		for node := range count {
			text := hostFile(t, host, fmt.Sprintf("sys/devices/system/node/node%d/meminfo", node))
			m, err := ParseNodeMeminfo(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := memText(m); got != string(text) {
				t.Errorf("%s: got:\n%s\nwant:\n%s", host, got, text)
			}
			for _, field := range []MemField{MemTotal, MemUsed, MemFilePages} {
				if m.Values[field] == 0 {
					t.Errorf("%s: %s of node %d is 0", host, memKeys[field-1], node)
				}
			}
		}
	}
}

func TestNodes(t *testing.T) {
	fs, err := New("testdata/6.1-x86_64-numa/proc", "testdata/6.1-x86_64-numa/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	n, err := fs.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	if n.Online.String() != "0-1" || len(n.List) != 2 || len(n.Vmstat.Lines) != 60 {
		t.Fatalf("%d nodes %s, %d keys", len(n.List), n.Online, len(n.Vmstat.Lines))
	}
	for i, cpus := range []string{"0-1", "2-3"} {
		if node := n.Find(i); node == nil || node.CPUs.String() != cpus {
			t.Errorf("node %d: %+v, want CPUs %s", i, node, cpus)
		}
	}
	if n.Find(2) != nil {
		t.Error("there is a node 2")
	}
	both, second := cpulist.Of(0, 1, 9), cpulist.Of(1)
	meminfo, err := fs.Meminfo()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n.MemTotal(&both), meminfo.Values[MemTotal]; got != want {
		t.Errorf("both nodes have %d kB, the machine %d", got, want)
	}
	if got, want := n.MemTotal(&second), n.List[1].Meminfo.Values[MemTotal]; got != want {
		t.Errorf("node 1 has %d kB, want %d", got, want)
	}
	if fs.HugePageSize() != 0 {
		t.Error("a size of huge pages without the file")
	}
}

func TestVmstat(t *testing.T) {
	text := hostFile(t, "6.18-x86_64", "proc/vmstat")
	v, err := ParseVmstat(text)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range v.Lines {
		fmt.Fprintf(&b, "%s %d\n", l.Key, l.Value)
	}
	if b.String() != string(text) {
		t.Errorf("got %q, want %q", b.String(), text)
	}
	v, err = ParseVmstat([]byte("a 1\nbad\nb x\nc 2\n"))
	if err != nil || len(v.Lines) != 2 || v.Lines[1].Value != 2 {
		t.Errorf("malformed lines: %+v, %v", v, err)
	}
	if _, err := ParseVmstat(nil); err == nil {
		t.Error("an empty file is parsed")
	}
}

func FuzzParseVmstat(f *testing.F) {
	seed(f, "proc/vmstat", "6.18-x86_64", "6.1-x86_64-numa")
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ParseVmstat(text)
		if err == nil && (len(v.Lines) == 0 || len(v.Lines[0].Key) == 0) {
			t.Errorf("got %+v", v)
		}
	})
}

func FuzzParseNodeMeminfo(f *testing.F) {
	seed(f, "sys/devices/system/node/node0/meminfo", "6.18-x86_64", "6.1-x86_64-numa")
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseNodeMeminfo(text)
		if err != nil {
			return
		}
		size := 0
		for _, l := range m.Lines {
			if size += len(l.Head) + len(l.Tail); l.Width < 0 {
				t.Errorf("width %d", l.Width)
			}
		}
		if size > len(text) {
			t.Errorf("lines of %d bytes in a text of %d", size, len(text))
		}
	})
}
