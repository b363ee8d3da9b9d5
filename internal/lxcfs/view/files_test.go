package view_test

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/view"
)

func cpuTime(user, nice, system, idle uint64) account.CPUTime {
	return account.CPUTime{
		CPUTime: cgroup.CPUTime{User: user, Nice: nice, System: system}, Idle: idle,
	}
}

func TestStat(t *testing.T) {
	for _, tt := range []struct {
		name, host, want string
		cpus             []account.CPUTime
		hidden           int
		tasks            view.Tasks
		boot             time.Duration
	}{
		{
			// Each CPU shows 1 for 1.9 ticks: the sum must be 2, not 3.
			name: "lines add up", host: "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 9 9 9 9 9 9 9 9 9 9\nbtime 1\n",
			cpus: []account.CPUTime{cpuTime(19e6, 0, 1e9, 0), cpuTime(19e6, 5e7, 0, 1e10)},
			want: "cpu  2 5 100 1000 0 0 0 0 0 0\ncpu0 1 0 100 0 0 0 0 0 0 0\n" +
				"cpu1 1 5 0 1000 0 0 0 0 0 0\nbtime 1\n",
		},
		{
			name: "hidden CPU", host: "cpu  9 9 9 9\ncpu0 9 9 9 9\n", hidden: 1,
			cpus: []account.CPUTime{cpuTime(1e7, 0, 0, 0), cpuTime(2e7, 0, 0, 3e7)},
			want: "cpu  3 0 0 3\ncpu0 1 0 0 0\n",
		},
		{
			name: "as many columns as the host", host: "cpu  9 9 9 9 9 9 9\n",
			cpus: []account.CPUTime{cpuTime(1e7, 0, 0, 0)},
			want: "cpu  1 0 0 0 0 0 0\ncpu0 1 0 0 0 0 0 0\n",
		},
		{
			name: "tasks", host: "cpu  1 1 1 1\nintr 5 1\nprocesses 9\nprocs_running 9\n" +
				"procs_blocked 9\nsoftirq 1\n",
			tasks: view.Tasks{Running: 2, Blocked: 1, Total: 4, LastPID: 70},
			cpus:  []account.CPUTime{{}},
			want: "cpu  0 0 0 0\ncpu0 0 0 0 0\nintr 5 1\nprocesses 70\nprocs_running 2\n" +
				"procs_blocked 1\nsoftirq 1\n",
		},
		{
			name: "a time namespace", host: "cpu  1 1 1 1\nbtime 1700000000\nfuture 1\n",
			boot: -100 * time.Second,
			want: "cpu  0 0 0 0\nbtime 1700000100\nfuture 1\n",
		},
		{
			name: "pids wrapped around", host: "cpu  1 1 1 1\nprocesses 9\nprocs_running 1\n",
			tasks: view.Tasks{Total: 40, LastPID: 7, Running: -1},
			want:  "cpu  0 0 0 0\nprocesses 40\nprocs_running 0\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, err := procfs.ParseStat([]byte(tt.host))
			if err != nil {
				t.Fatal(err)
			}
			visible := len(tt.cpus) - tt.hidden
			got := string(view.Stat(nil, host, tt.cpus, visible, tt.tasks, tt.boot))
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestUptime(t *testing.T) {
	for _, tt := range []struct {
		name string
		age  time.Duration
		idle uint64
		want string
	}{
		{"zero", 0, 0, "0.00 0.00\n"},
		{"truncated", 1999*time.Millisecond + 999999, 9999999, "1.99 0.00\n"},
		{"long", 400 * 24 * time.Hour, 400 * 24 * 3600 * 8e9, "34560000.00 276480000.00\n"},
		{"negative age", -time.Second, 10e6, "0.00 0.01\n"},
		{"largest", math.MaxInt64, math.MaxUint64, "9223372036.85 18446744073.70\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(view.Uptime(nil, tt.age, tt.idle)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLoadavg(t *testing.T) {
	for _, tt := range []struct {
		name string
		load view.Load
		want string
	}{
		{"idle", view.Load{}, "0.00 0.00 0.00 0/0 0\n"},
		{
			// Half a hundredth is added before truncation.
			"rounding",
			view.Load{
				Avg:   [3]uint64{view.LoadOne - 10, view.LoadOne - 11, 21},
				Tasks: view.Tasks{Running: 1, Total: 3, LastPID: 9},
			},
			"1.00 0.99 0.01 1/3 9\n",
		},
		{
			"extremes", view.Load{Avg: [3]uint64{math.MaxUint64, 0, 0}, Tasks: view.Tasks{Running: -1}},
			"9007199254740991.99 0.00 0.00 0/0 0\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(view.Loadavg(nil, tt.load)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

var threeDisks = &procfs.Disks{Devices: []procfs.DiskLine{
	{Device: procfs.Device{Major: 8, Minor: 0}, Name: "sda", Columns: 17},
	{Device: procfs.Device{Major: 8, Minor: 1}, Name: "sda1", Columns: 17, Partition: true},
	{Device: procfs.Device{Major: 259, Minor: 0}, Name: "nvme0n1", Columns: 15},
	{Device: procfs.Device{Major: 65, Minor: 16}, Name: "sdr", Columns: 19},
	{Device: procfs.Device{Major: 7, Minor: 0}, Name: "loop0", Columns: 11},
}}

func TestDiskstats(t *testing.T) {
	disks := []view.Disk{
		{Device: procfs.Device{Major: 7, Minor: 0}, Name: "loop0"},
		{Device: procfs.Device{Major: 259, Minor: 0}, Name: "sda"},
		{Device: procfs.Device{Major: 8, Minor: 1}, Name: "part"},
		{Device: procfs.Device{Major: 65, Minor: 16}, Name: "data"},
		{Device: procfs.Device{Major: 99, Minor: 9}, Name: "gone"},
	}
	io := []cgroup.DeviceIO{
		{Major: 8, Minor: 0, Reads: 99},
		{
			Major: 259, Minor: 0,
			Reads: 1, ReadMerges: 2, ReadBytes: 3*512 + 511, ReadNanos: 4e6,
			Writes: 5, WriteMerges: 6, WriteBytes: 7 * 512, WriteNanos: 8e6 + 999999,
			InFlight: 9, Discards: 12, DiscardBytes: 14 * 512,
		},
	}
	want := " 259       0 sda 1 2 3 4 5 6 7 8 9 12 12 12 0 14 0\n" +
		"  65      16 data 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" +
		"   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
	if got := string(view.Diskstats(nil, threeDisks, disks, io)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	disks[1].Name = ""
	want = strings.Replace(want, " sda ", " nvme0n1 ", 1)
	if got := string(view.Diskstats(nil, threeDisks, disks, io)); got != want {
		t.Errorf("with the host's name: got\n%swant\n%s", got, want)
	}
}

func TestPartitions(t *testing.T) {
	const header = "major minor  #blocks  name\n\n"
	host := &procfs.Disks{Header: []byte(header), Devices: []procfs.DiskLine{
		{Device: procfs.Device{Major: 8, Minor: 0}, Blocks: 468851544, Name: "sda"},
		{Device: procfs.Device{Major: 8, Minor: 1}, Blocks: 1048576, Name: "sda1", Partition: true},
		{Device: procfs.Device{Major: 254, Minor: 0}, Blocks: 68719476736, Name: "vda"},
	}}
	disks := []view.Disk{
		{Device: procfs.Device{Major: 254, Minor: 0}, Name: "sda"},
		{Device: procfs.Device{Major: 8, Minor: 1}, Name: "part"},
	}
	for _, name := range []string{"sda", ""} {
		disks[0].Name = name
		want := header + " 254        0 68719476736 " + cmp.Or(name, "vda") + "\n"
		if got := string(view.Partitions(nil, host, disks)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSlabinfo(t *testing.T) {
	const text = "slabinfo - version: 2.1\n# name\ndentry 1 2 3\n"
	if got := string(view.Slabinfo(nil, []byte(text))); got != text {
		t.Errorf("got %q, want %q", got, text)
	}
	got := string(view.Slabinfo(nil, nil))
	const header = "slabinfo - version: 2.1\n# name            <active_objs> "
	if !strings.HasPrefix(got, header) || strings.Count(got, "\n") != 2 {
		t.Errorf("without caches: got %q, want the two lines of the header", got)
	}
}
