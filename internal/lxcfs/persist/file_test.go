package persist

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/lxcfs/account"
)

func noneRuns(Key) bool { return false }

// openTest opens the file path for two CPUs, and returns it with the log.
func openTest(t *testing.T, path string) (*File, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	f := Open(path, 2, noneRuns, slog.New(slog.NewTextHandler(log, nil)))
	return f, log
}

// testCounters are those of a container that has used one of two CPUs.
func testCounters() ContainerCounters {
	return ContainerCounters{
		Clock: account.CPUClock{
			Age: time.Hour, Debt: -5,
			CPUs: []account.CPUTime{
				{CPUTime: cgroup.CPUTime{User: 1, Nice: 2, System: 3}, Idle: 4}, {Idle: 5},
			},
			Used: cgroup.CPUUsage{
				Total:  cgroup.CPUTime{User: 6, Nice: 7, System: 8},
				PerCPU: []cgroup.CPUTime{{User: 9}, {System: 10}},
			},
		},
		Load: account.Load{0.5, 1.25, 2}, Sampled: time.Minute, LastPID: 42,
	}
}

// TestNextWorker opens the file of an earlier worker.
func TestNextWorker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guests")
	first, log := openTest(t, path)
	key, want := Key{PIDNamespace: 1 << 32, PID: 7, Start: time.Second}, testCounters()
	record := first.Counters.Attach(key, new(ContainerCounters))
	first.Counters.Save(record, new(ContainerCounters))
	first.Counters.Save(record, &want)
	tooMany := testCounters()
	tooMany.Clock.CPUs = append(tooMany.Clock.CPUs, account.CPUTime{})
	first.Counters.Save(record, &tooMany) // not kept
	number := uint64(1<<32 | 5)
	first.Reads.Keep(number, []byte("content"), 3, false)
	first.Triggers.Add(number, 14, key, []byte("some 100000 2000000")).Waiter.Store(9)
	if log.Len() > 0 {
		t.Errorf("a new file is logged: %s", log)
	}

	next, log := openTest(t, path)
	var got ContainerCounters
	if next.Counters.Attach(key, &got) == nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = ContainerCounters{}
	other := Key{PIDNamespace: 1 << 32, PID: 7, Start: time.Minute}
	if next.Counters.Attach(other, &got) == nil || !reflect.DeepEqual(got, ContainerCounters{}) {
		t.Errorf("another container has %+v", got)
	}
	if length, content, _ := next.Reads.Find(number, nil); length != 7 || string(content) != "content" {
		t.Errorf("content %q of %d bytes", content, length)
	}
	all := next.Triggers.All()
	if len(all) != 1 || all[0].Number.Load() != number || all[0].Node != 14 || all[0].Key != key ||
		string(all[0].Text()) != "some 100000 2000000" || all[0].Waiter.Load() != 9 {
		t.Fatalf("triggers %v", all)
	}
	all[0].Number.Store(0)
	if all = next.Triggers.All(); len(all) != 0 {
		t.Errorf("freed triggers %v", all)
	}
	if log.Len() > 0 {
		t.Errorf("a file of an earlier worker is logged: %s", log)
	}
}

// TestUnusableFile opens files that no worker of this version has left: they are replaced.
func TestUnusableFile(t *testing.T) {
	changed := func(at int, value uint32) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			openTest(t, path)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			binary.NativeEndian.PutUint32(text[at:], value)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"empty", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "has 0 bytes"},
		{"another version", changed(16, version+1), "another version"},
		{"other CPUs", changed(20, 3), "another version"},
		{"another magic", changed(0, 0), "another version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "guests")
			tt.make(t, path)
			f, log := openTest(t, path)
			if !strings.Contains(log.String(), tt.want) || f.Reads.Places() == nil {
				t.Errorf("log %q, places %v", log, f.Reads.Places())
			}
			if _, log = openTest(t, path); log.Len() > 0 {
				t.Errorf("the new file is logged: %s", log)
			}
		})
	}
}

// TestNoFile keeps nothing.
func TestNoFile(t *testing.T) {
	f, log := openTest(t, filepath.Join(t.TempDir(), "missing/guests"))
	if !strings.Contains(log.String(), "will be lost") {
		t.Errorf("log %q", log)
	}
	var none ContainerCounters
	record := f.Counters.Attach(Key{PID: 1}, &none)
	f.Counters.Save(record, &none)
	trigger := f.Triggers.Add(1, 14, Key{}, []byte("full 1 2"))
	if record != nil || string(trigger.Text()) != "full 1 2" || len(f.Triggers.All()) != 0 {
		t.Errorf("record %v, trigger %q, kept %v", record, trigger.Text(), f.Triggers.All())
	}
	if f, log := openTest(t, ""); log.Len() > 0 || f.Reads.Places() != nil {
		t.Errorf("without a path: %s", log)
	}
}

// TestTriggersAreBounded adds more triggers than there is room for.
func TestTriggersAreBounded(t *testing.T) {
	k := &Triggers{mem: make([]Trigger, MaxTriggers)}
	for i := range uint64(MaxTriggers + 1) {
		k.Add(i+1, 14, Key{}, nil)
	}
	if got := len(k.All()); got != MaxTriggers {
		t.Errorf("%d triggers, want %d", got, MaxTriggers)
	}
}

// TestRecordsAreFreed fills all records with ended containers: a free one must be found without a
// check of all records.
func TestRecordsAreFreed(t *testing.T) {
	f, _ := openTest(t, filepath.Join(t.TempDir(), "guests"))
	s := &f.Counters
	if s.header == nil {
		t.Fatal("no file was made")
	}
	for i := range maxContainers {
		if got := s.allocate(Key{PID: 1<<30 + i}); got != i {
			t.Fatalf("record %d, want %d", got, i)
		}
	}
	for i := range 3 {
		got := s.allocate(Key{PID: 1 << 29, Start: time.Duration(i)})
		if got < 0 || got >= sweepStep {
			t.Errorf("record %d is taken, want one of those that were checked", got)
		}
	}
	if got := len(s.free); got != sweepStep-3 {
		t.Errorf("%d records are free, want %d", got, sweepStep-3)
	}
	if s.record(sweepStep).used != 1 {
		t.Error("more records were checked")
	}
}
