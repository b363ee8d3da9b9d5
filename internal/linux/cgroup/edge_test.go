package cgroup

import (
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"syscall"
	"testing"
)

// TestIOStatBrokenLines has io.stat of Linux 5.15 and 5.16, which do not end the line of a device
// without values.
func TestIOStatBrokenLines(t *testing.T) {
	const values = " rbytes=4096 wbytes=512 rios=8 wios=1 dbytes=0 dios=0\n"
	of := func(major, minor uint32) DeviceIO {
		return DeviceIO{
			Major: major, Minor: minor, Reads: 8, ReadBytes: 4096, Writes: 1, WriteBytes: 512,
		}
	}
	tests := []struct {
		name, text string
		want       []DeviceIO
	}{
		{"one without values before", "7:0 254:16" + values, []DeviceIO{of(254, 16)}},
		{
			"many before", "7:0 7:1 7:2 254:0" + values + "7:3 253:1" + values,
			[]DeviceIO{of(254, 0), of(253, 1)},
		},
		{"at the end", "254:0" + values + "7:0 7:1 ", []DeviceIO{of(254, 0)}},
		{"removed device before", "(unknown) 254:0" + values, []DeviceIO{of(254, 0)}},
		{"removed device after", "254:0 (unknown)" + values, nil},
		{"values of a cost model", "254:0 cost.vrate=100.00 cost.usage=5\n", nil},
		{"the largest device", "4095:1048575" + values, []DeviceIO{of(4095, 1048575)}},
		{
			"invalid device numbers",
			"4096:0" + values + "0:1048576" + values + "18446744073709551616:0" + values, nil,
		},
		{"not a number", "254:0 rbytes= rios=x wios=-1 =5 =\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseIOStat(nil, []byte(tt.text)); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestOverflow checks that sums are saturated.
func TestOverflow(t *testing.T) {
	const max = "18446744073709551615"
	inFlight := []byte("8:0 Read " + max + "\n8:0 Write 1\n8:0 Read 2\n")
	io := parseBlkio(nil, 0, inFlight, queued)
	if len(io) != 1 || io[0].InFlight != math.MaxUint64 {
		t.Errorf("got %+v, want the largest number in flight", io)
	}
	var u CPUUsage
	parseUsageAll([]byte("cpu user system\n0 "+max+" 1\n1 0 "+max+"\n"), &u)
	parseUsagePerCPU([]byte(max+" "+max), &u)
	if want := (CPUTime{User: math.MaxUint64, System: math.MaxUint64}); u.Total != want {
		t.Errorf("got %+v, want %+v", u.Total, want)
	}
	u = CPUUsage{PerCPU: []CPUTime{{User: math.MaxUint64, System: math.MaxUint64}}}
	parseUsagePerCPU([]byte(max+" "+max), &u)
	if u.Total.User != math.MaxUint64 {
		t.Errorf("got %+v, want the largest number", u.Total)
	}
}

// TestMemoryOfAncestor has a cgroup without the memory controller below one with it, which is
// charged for its processes.
func TestMemoryOfAncestor(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/memory.stat":      "anon 1\n", // the only memory file of the root
		v2Dir + "/a/memory.stat":    "anon 4096\n",
		v2Dir + "/a/memory.current": "8192\n",
		v2Dir + "/a/memory.max":     "65536\n",
		v2Dir + "/a/b/c/cpu.stat":   "",
		v2Dir + "/d/cpu.stat":       "",
		v2Dir + "/e/memory.stat":    "anon 4096\n",
		v2Dir + "/e/memory.current": "8192\n",
		v2Dir + "/e/memory.max":     "max\n",
		v2Dir + "/e/f/cpu.stat":     "",
	})
	var got Memory
	if err := open(t, fs, "/a/b/c").Memory(&got, true, new(Scratch)); err != nil {
		t.Fatal(err)
	}
	want := Memory{Limit: 65536, Usage: 8192, Stat: MemoryStat{Anon: 4096}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// Without a limit the values of the ancestor are mostly those of other cgroups.
	for _, path := range []string{"/e/f", "/d", "/"} {
		err := open(t, fs, path).Memory(&got, true, new(Scratch))
		if !errors.Is(err, ErrNoController) {
			t.Errorf("%s: %v, want ErrNoController", path, err)
		}
	}
}

// TestRemoved removes a cgroup before its files were opened: the error must not be ErrNoController.
func TestRemoved(t *testing.T) {
	fs, root := tree(t, v2Mount, map[string]string{v2Dir + "/c/cpu.stat": "user_usec 1\n"})
	g := open(t, fs, "/c")
	var m Memory
	if err := g.Memory(&m, true, new(Scratch)); !errors.Is(err, ErrNoController) {
		t.Fatalf("got %v, want ErrNoController", err)
	}
	if err := os.RemoveAll(root + v2Dir + "/c"); err != nil {
		t.Fatal(err)
	}
	var u CPUUsage
	err := g.CPUUsage(&u, new(Scratch))
	if !errors.Is(err, syscall.ENOENT) || errors.Is(err, ErrNoController) {
		t.Errorf("got %v, want ENOENT", err)
	}
}

// TestOpenFiles checks that all calls for one container open at most 20 files.
func TestOpenFiles(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		g := warm(t, v2)
		before := openFiles(t)
		readAll(t, g)
		if n := openFiles(t) - before; n <= 0 || n > 20 {
			t.Errorf("v2 %v: %d files are open", v2, n)
		}
		g.Close()
		if n := openFiles(t) - before; n != 0 {
			t.Errorf("v2 %v: %d files stay open", v2, n)
		}
	}
}

// TestRootIsShared has two groups at the root of a hierarchy: its files must be opened once, and
// stay open when one of the groups is closed.
func TestRootIsShared(t *testing.T) {
	const text = "8:0 Read 1\n"
	fs, _ := tree(t, v1IO, map[string]string{v1Dir + "blkio/" + fileNames[fileThrottleCount].v1: text})
	before := openFiles(t)
	read := func(g *Group) {
		t.Helper()
		got, err := g.chain("blkio")[0].read(fileThrottleCount, new(Scratch))
		if string(got) != text || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if n := openFiles(t) - before; n != 1 {
			t.Errorf("%d files are open", n)
		}
	}
	first, second := open(t, fs, "/"), open(t, fs, "/")
	read(first)
	read(second)
	first.Close()
	read(second)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no list of open files: %v", err)
	}
	return len(entries)
}
