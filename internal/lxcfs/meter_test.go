package lxcfs

import (
	"log/slog"
	"testing"

	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
)

// newMetered returns the file system of this host, and its counters.
func newMetered(t *testing.T) (*FS, *meter.Meter) {
	t.Helper()
	m, file, err := meter.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	f, err := New(Options{
		ProcRoot: "/proc", SysRoot: "/sys", Meter: m, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Begin()
	return f, m
}

func TestMeter(t *testing.T) {
	f, m := newMetered(t)
	buf := make([]byte, 0, 256<<10)
	read := func(node uint64) {
		t.Helper()
		if text, errno := f.Read(&fusedev.Request{Node: node}, 0, 0, 4096, buf); errno != 0 || len(text) == 0 {
			t.Errorf("node %d: %q, %v", node, text, errno)
		}
	}
	for range 3 {
		read(idMeminfo)
	}
	read(idUptime)
	online, err := f.sysfs.stat("cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	read(sysfsBit | online.Number)
	f.Rescue(&fusedev.Request{Node: idMeminfo}, 0, 0, 4096, buf)
	f.Panicked("a test")
	if _, errno := f.Read(&fusedev.Request{Node: 1 << 40}, 0, 0, 4096, buf); errno == 0 {
		t.Error("a missing file is read")
	}
	c, err := m.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[meter.File]struct{ reads, fallbacks uint64 }{
		meter.Meminfo: {3, 1}, meter.Uptime: {1, 0}, meter.CPUOnline: {1, 0}, meter.Stat: {0, 0}, meter.CPUOther: {0, 0},
	} {
		if got := c.Files[file]; got.Reads != want.reads || got.Fallbacks != want.fallbacks || got.Reads > 0 && got.Time <= 0 {
			t.Errorf("%v: %+v, want %+v", file, got, want)
		}
	}
	for kind, want := range map[meter.ErrorKind]uint64{
		meter.Container: 0, meter.Stats: 0, meter.Host: 1, meter.Load: 0, meter.Stuck: 1, meter.Panic: 1,
	} {
		if c.Errors[kind] != want {
			t.Errorf("%d errors of the kind %v, want %d", c.Errors[kind], kind, want)
		}
	}
}

// TestEveryFileIsCounted checks that each file of the tree is counted under its own name.
func TestEveryFileIsCounted(t *testing.T) {
	seen := make(map[meter.File]string)
	for _, n := range nodes() {
		if n.isDir() != (n.file == meter.NoFile) {
			t.Errorf("%s is counted as %v", n.name, n.file)
		}
		if n.isDir() {
			continue
		}
		if want := max(n.host, n.name); n.file.String() != want || seen[n.file] != "" {
			t.Errorf("%s is counted as %v", want, n.file)
		}
		seen[n.file] = n.name
	}
}

// TestContainersFilesAreCounted checks that a file in containers/ is counted as the file of proc.
func TestContainersFilesAreCounted(t *testing.T) {
	f, _ := newMetered(t)
	for id, want := range map[uint64]meter.File{
		containerNode{pid: 1, file: idMeminfo}.id(): meter.Meminfo, containerNode{pid: 1}.id(): meter.NoFile,
		idContainers: meter.NoFile, idMeminfo: meter.Meminfo, 1 << 40: meter.NoFile,
	} {
		if got := f.subtreeOf(id).metered(id); got != want {
			t.Errorf("%#x is counted as %v, want %v", id, got, want)
		}
	}
}

// TestMeterAllocatesNothing reads with a shared and with a private meter.
func TestMeterAllocatesNothing(t *testing.T) {
	f, m := newMetered(t)
	request, buf := fusedev.Request{Node: idMeminfo}, make([]byte, 0, 64<<10)
	allocations := func() float64 {
		return testing.AllocsPerRun(100, func() { f.Read(&request, 0, 0, 4096, buf) })
	}
	with := allocations()
	f.meter = meter.NewPrivate()
	if without := allocations(); with != without {
		t.Errorf("%v allocations a read, %v without a meter", with, without)
	}
	if c, err := m.Counts(); err != nil || c.Files[meter.Meminfo].Reads < 100 {
		t.Errorf("%+v, %v", c.Files[meter.Meminfo], err)
	}
}
