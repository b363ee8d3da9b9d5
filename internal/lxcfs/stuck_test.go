package lxcfs

import (
	"os"
	"syscall"
	"testing"

	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/openfile"
	"palisade/internal/lxcfs/persist"
)

// stuckText is longer than a read of stuckSize gets.
const (
	stuckText = "MemTotal: of container A\nMemFree: of container A\n"
	stuckSize = 10
)

// newStuck returns a file system whose file loadavg is blocked until resume is closed. A blocked
// read sends to began. Its late content is stuckText.
func newStuck(t *testing.T) (
	f *FS, reads *persist.Reads, began <-chan bool, resume chan<- bool,
) {
	t.Helper()
	f, _ = newMetered(t)
	reads = persist.NewReads()
	f.files.Restore(reads)
	in, out := make(chan bool), make(chan bool)
	n := *f.fixed.byID[idLoadavg]
	n.own = func(_ *FS, dst []byte) ([]byte, error) {
		in <- true
		<-out
		return append(dst, stuckText...), nil
	}
	f.fixed.byID[idLoadavg] = &n
	return f, reads, in, out
}

// readStuck starts a read that blocks, answers it as fusedev does, and returns the content and a
// channel that is closed when the blocked read has returned.
func readStuck(t *testing.T, f *FS, began <-chan bool, number uint64) (string, <-chan bool) {
	t.Helper()
	request, back := fusedev.Request{Node: idLoadavg}, make(chan bool)
	go func() {
		defer close(back)
		f.Read(&request, number, 0, stuckSize, nil)
	}()
	<-began
	text, errno := f.Rescue(&request, number, 0, stuckSize, nil)
	if errno != 0 || len(text) == 0 {
		t.Fatalf("the rescue: %q, %v", text, errno)
	}
	return string(text), back
}

// TestStuckReadOfClosedFile returns from a blocked read after its file is closed: the next open file,
// which has the same handle and number, does not get its content.
func TestStuckReadOfClosedFile(t *testing.T) {
	f, reads, began, resume := newStuck(t)
	request := fusedev.Request{Node: idLoadavg}
	open := func() uint64 {
		number, errno := f.Open(&request, syscall.O_RDONLY)
		if errno != 0 || number == 0 {
			t.Fatalf("open: %d, %v", number, errno)
		}
		return number
	}
	number := open()
	_, back := readStuck(t, f, began, number)
	f.Release(&request, number)
	if next := open(); next != number {
		t.Fatalf("the next file is %#x, not %#x: the test shows nothing", next, number)
	}
	close(resume)
	<-back
	if text, ok := f.files.Get(number).AppendKept(nil, 0, len(stuckText)); ok {
		t.Errorf("the next file has the content %q", text)
	}
	if length, text, _ := reads.Find(number, nil); length != 0 || text != nil {
		t.Errorf("the next process finds %q, %d bytes", text, length)
	}
	f.Release(&request, number)
	if kept := f.files.KeptBytes(); kept != 0 {
		t.Errorf("%d bytes are kept without a file", kept)
	}
}

// TestStuckReadOfOpenFile returns from a blocked read while its reader continues with the content
// that it got instead.
func TestStuckReadOfOpenFile(t *testing.T) {
	f, reads, began, resume := newStuck(t)
	request := fusedev.Request{Node: idLoadavg}
	number := f.files.Add(idMeminfo, 0, nil)
	given, back := readStuck(t, f, began, number)
	close(resume)
	<-back
	if text, ok := f.files.Get(number).AppendKept(nil, 0, len(given)); !ok || string(text) != given {
		t.Errorf("the content continues as %q, want %q", text, given)
	}
	f.Release(&request, number)
	if length, text, _ := reads.Find(number, nil); length != 0 || text != nil {
		t.Error("the text of a closed file is known to the next process")
	}
}

// TestMaybeAnswered sends requests that an earlier process may have answered, so that the number may
// be another file's: the reader of that continues with its content.
func TestMaybeAnswered(t *testing.T) {
	f, _ := newMetered(t)
	k := persist.NewReads()
	first := openfile.NewTable()
	first.Restore(k)
	number := first.Add(idMeminfo, 0, nil)
	first.Get(number).Keep([]byte("text"), 2)
	f.files.Restore(k)
	request := fusedev.Request{Node: idUptime, MaybeAnswered: true}
	if text, errno := f.Read(&request, number, 0, 4096, nil); errno != 0 || len(text) == 0 {
		t.Errorf("read: %q, %v", text, errno)
	}
	if text, errno := f.Rescue(&request, number, 0, 1, nil); errno != 0 || len(text) == 0 {
		t.Errorf("rescue: %q, %v", text, errno)
	}
	f.Release(&request, number)
	if text, ok := f.files.Get(number).AppendKept(nil, 2, 10); !ok || string(text) != "xt" {
		t.Errorf("the other file continues with %q, %v", text, ok)
	}
}

// TestRescueIsOfTheHost rescues reads of files that an earlier process has opened: the reader gets
// the host's content, if there is any.
func TestRescueIsOfTheHost(t *testing.T) {
	f, _ := newMetered(t)
	const number = 1<<32 | 1
	inSysfs := func(p string) uint64 {
		t.Helper()
		info, err := f.sysfs.stat(p)
		if err != nil {
			t.Fatal(err)
		}
		return sysfsBit | info.Number
	}
	for _, c := range []struct {
		name string
		id   uint64
		host string // "" for none
	}{
		{"online", inSysfs("cpu/online"), "/sys/devices/system/cpu/online"},
		{"uevent of a CPU", inSysfs("cpu/cpu0/uevent"), "/sys/devices/system/cpu/cpu0/uevent"},
		{"partitions", idPartitions, "/proc/partitions"},
		{"status", idStatus, ""},
		{"a directory", idProc, ""},
		{"a container", containersBit | 1, ""},
		{"nothing", sysfsBit | 1<<40, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := fusedev.Request{Node: c.id}
			text, errno := f.Rescue(&request, number, 0, 4096, nil)
			f.Release(&request, number)
			if c.host == "" {
				if errno == 0 {
					t.Errorf("read: %q", text)
				}
				return
			}
			if want := readHost(t, c.host); errno != 0 || string(text) != want {
				t.Errorf("read %q, %v; want %q", text, errno, want)
			}
		})
	}
}

func readHost(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
