package lxcfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/container"
)

type knownContainer = container.Container[guest]

// stateKey recognises a container after a restart of the daemon.
type stateKey struct {
	PIDNamespace uint64
	PID          int
	Start        time.Duration
}

func keyOf(c *knownContainer) stateKey { return stateKey{c.PIDNamespace(), c.InitPID(), c.Start()} }

// isRunning tells whether the process that the state is of is still there.
func (k stateKey) isRunning(proc sys.File) bool {
	stat, _, err := procfs.ReadTaskStatIn(proc, k.PID, nil)
	return err == nil && stat.Start == k.Start
}

// guestState keeps the counters of all containers that the kernel does not keep, for the next daemon: in a file that is
// mapped into memory, so that what a reader has been shown is in it already, however this process ends. It does not
// outlive the machine's next start, as the containers do not. Without a file it keeps nothing.
//
// The file is a header, the keptReads, the keptTriggers, and records of one size. A record has its guest's key and two
// copies of the counters, one of which counts: it is written in the other, and then the number of the copy is changed.
type guestState struct {
	proc sys.File
	cpus int // for which a record has room
	mem  []byte
	// reads are in the same file.
	reads keptReads
	// triggers is the memory of the keptTriggers.
	triggers []byte

	mu   sync.Mutex
	byID map[stateKey]int
	free []int
	// sweptTo is the index at which the next sweep for records of ended containers starts, and swept
	// the time of the last sweep.
	sweptTo int
	swept   time.Time
}

const (
	stateMagic   = "palisade-guests\x00"
	stateVersion = 3
	// maxGuests bounds the records. The file has no pages for those that are not used.
	maxGuests = 1 << 14
	// sweepEvery is the minimum interval of sweeps for unneeded records, while all are used;
	// sweepStep is the number of records per sweep, for which a reader waits.
	sweepEvery = 100 * time.Millisecond
	sweepStep  = 256

	stateReadsAt   = 4096
	stateTriggers  = stateReadsAt + keptReadsSize
	stateHeader    = stateTriggers + keptTriggersSize // where the records begin
	stateVersionAt = 16                               // uint32
	stateCPUsAt    = 20                               // uint32
	stateTopAt     = 24                               // uint32: how many records were ever used
	recordUsedAt   = 0                                // uint32: 1 where the record is used
	recordCopyAt   = 4                                // uint32: which copy counts
	recordKeyAt    = 8                                // the key, as three uint64
	recordCopies   = 64
	countersFixed  = 12 * 8
	countersCPU    = 4*8 + 3*8
)

func (s *guestState) copySize() int   { return countersFixed + s.cpus*countersCPU }
func (s *guestState) recordSize() int { return recordCopies + 2*s.copySize() }
func (s *guestState) size() int       { return stateHeader + maxGuests*s.recordSize() }

func (s *guestState) record(i int) []byte {
	at := stateHeader + i*s.recordSize()
	return s.mem[at : at+s.recordSize()]
}

// openState takes up the file that the last daemon left. One that is missing, or not to be understood, is made anew.
func openState(path string, host *procfs.FS, proc sys.File, log *slog.Logger) *guestState {
	s := &guestState{proc: proc, byID: make(map[stateKey]int)}
	if path == "" {
		return s
	}
	s.cpus = possibleCPUs(host)
	err := s.open(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("idle times and loads of containers start anew", "err", err)
		}
		err = s.make(path)
	}
	if err != nil {
		log.Warn("idle times and loads of containers will be lost with this process", "err", err)
		s.mem = nil
		return s
	}
	for i := range min(u32(s.mem, stateTopAt), maxGuests) {
		if record := s.record(int(i)); u32(record, recordUsedAt) != 0 {
			s.byID[decodeKey(record[recordKeyAt:])] = int(i)
		} else {
			s.free = append(s.free, int(i))
		}
	}
	s.reads.mem = s.mem[stateReadsAt:stateTriggers]
	s.triggers = s.mem[stateTriggers:stateHeader]
	return s
}

// possibleCPUs is how many CPUs a container can ever see: those that are there, and those that may be added.
func possibleCPUs(host *procfs.FS) int {
	var possible cpulist.Set
	text, err := host.Raw("cpu/possible", nil)
	if err != nil || possible.Parse(text) != nil {
		return cpulist.MaxCPU
	}
	last := 0
	for cpu := possible.Next(0); cpu >= 0; cpu = possible.Next(cpu + 1) {
		last = cpu
	}
	return last + 1
}

func (s *guestState) open(path string) error {
	f, err := sys.OpenReadWrite(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size != int64(s.size()) {
		return fmt.Errorf("%s has %d bytes, not %d", path, size, s.size())
	}
	if s.mem, err = f.Map(s.size()); err != nil {
		return err
	}
	if string(s.mem[:len(stateMagic)]) != stateMagic || u32(s.mem, stateVersionAt) != stateVersion || int(u32(s.mem, stateCPUsAt)) != s.cpus {
		return fmt.Errorf("%s is of another version", path)
	}
	return nil
}

// make makes a new file. Another process may still have the old one mapped.
func (s *guestState) make(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	name := tmp.Name()
	defer os.Remove(name) // fails if all went well
	err = tmp.Truncate(int64(s.size()))
	tmp.Close()
	if err != nil {
		return err
	}
	f, err := sys.OpenReadWrite(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.mem, err = f.Map(s.size()); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(s.mem[stateVersionAt:], stateVersion)
	binary.NativeEndian.PutUint32(s.mem[stateCPUsAt:], uint32(s.cpus))
	copy(s.mem, stateMagic)
	return os.Rename(name, path)
}

// attach gives g, the new state of c, what the last daemon knew, and a record for what it comes to know.
func (s *guestState) attach(c *knownContainer, g *guest) {
	if s.mem == nil {
		return
	}
	key := keyOf(c)
	s.mu.Lock()
	i, known := s.byID[key]
	if !known {
		i = s.take(key)
	}
	s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.record = i + 1; known {
		s.load(g)
	}
}

// take takes a free record for a container, -1 if there is none; s.mu is held.
func (s *guestState) take(key stateKey) int {
	top := int(u32(s.mem, stateTopAt))
	if len(s.free) == 0 && top >= maxGuests && time.Since(s.swept) > sweepEvery {
		s.sweep()
	}
	var i int
	switch {
	case len(s.free) > 0:
		i = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	case top < maxGuests:
		i = top
		binary.NativeEndian.PutUint32(s.mem[stateTopAt:], uint32(top+1))
	default:
		return -1
	}
	s.byID[key] = i
	record := s.record(i)
	clear(record)
	key.appendTo(record[recordKeyAt:recordKeyAt])
	binary.NativeEndian.PutUint32(record[recordUsedAt:], 1)
	return i
}

// sweep frees the records of ended containers among the next sweepStep records; s.mu is held, and
// all records are used.
func (s *guestState) sweep() {
	for range sweepStep {
		i := s.sweptTo
		s.sweptTo = (i + 1) % maxGuests
		record := s.record(i)
		key := decodeKey(record[recordKeyAt:])
		if u32(record, recordUsedAt) != 0 && !key.isRunning(s.proc) {
			delete(s.byID, key)
			binary.NativeEndian.PutUint32(record[recordUsedAt:], 0)
			s.free = append(s.free, i)
		}
	}
	s.swept = time.Now()
}

// save writes g's counters; g.mu is held. A guest without a record, or with more CPUs than it has room for, is not kept.
func (s *guestState) save(g *guest) {
	if g.record <= 0 || len(g.clock.CPUs) > s.cpus || len(g.clock.Used.PerCPU) > s.cpus {
		return
	}
	record := s.record(g.record - 1)
	next := 1 - u32(record, recordCopyAt)&1
	at := recordCopies + int(next)*s.copySize()
	g.encode(record[at : at : at+s.copySize()])
	sys.Uint32In(record[recordCopyAt:]).Store(next)
}

// load reads what save wrote; g.mu is held.
func (s *guestState) load(g *guest) {
	record := s.record(g.record - 1)
	at := recordCopies + int(u32(record, recordCopyAt)&1)*s.copySize()
	g.decode(record[at:at+s.copySize()], s.cpus)
}

// appendTo appends the key, to b.
func (k stateKey) appendTo(b []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, k.PIDNamespace)
	b = binary.NativeEndian.AppendUint64(b, uint64(k.PID))
	return binary.NativeEndian.AppendUint64(b, uint64(k.Start))
}

// decodeKey reads what appendTo wrote.
func decodeKey(b []byte) stateKey {
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	return stateKey{at(0), int(at(1)), time.Duration(at(2))}
}

// encode appends the counters to b, which has room for them.
func (g *guest) encode(b []byte) {
	put := func(values ...uint64) {
		for _, v := range values {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
	}
	c := &g.clock
	put(uint64(c.Age), uint64(c.Debt), uint64(g.sampled), uint64(g.count.tasks.LastPID))
	put(math.Float64bits(g.load[0]), math.Float64bits(g.load[1]), math.Float64bits(g.load[2]))
	put(uint64(len(c.CPUs)), uint64(len(c.Used.PerCPU)))
	put(c.Used.Total.User, c.Used.Total.Nice, c.Used.Total.System)
	for _, t := range c.CPUs {
		put(t.User, t.Nice, t.System, t.Idle)
	}
	for _, t := range c.Used.PerCPU {
		put(t.User, t.Nice, t.System)
	}
}

// decode reads what encode wrote, for at most so many CPUs.
func (g *guest) decode(b []byte, cpus int) {
	next := func() uint64 {
		v := binary.NativeEndian.Uint64(b)
		b = b[8:]
		return v
	}
	c := &g.clock
	c.Age, c.Debt = time.Duration(next()), int64(next())
	g.sampled, g.count.tasks.LastPID = time.Duration(next()), int(next())
	for i := range g.load {
		g.load[i] = math.Float64frombits(next())
	}
	seen, used := min(int(next()), cpus), min(int(next()), cpus)
	c.Used.Total = cgroup.CPUTime{User: next(), Nice: next(), System: next()}
	for range seen {
		c.CPUs = append(c.CPUs, account.CPUTime{User: next(), Nice: next(), System: next(), Idle: next()})
	}
	for range used {
		c.Used.PerCPU = append(c.Used.PerCPU, cgroup.CPUTime{User: next(), Nice: next(), System: next()})
	}
}

func u32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
