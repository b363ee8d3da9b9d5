package meter

import "time"

// Counts is a copy of the counters.
type Counts struct {
	Requests, Containers, Triggers, WorkerUp uint64

	Replaced map[Reason]uint64
	Errors   map[ErrorKind]uint64
	Files    map[File]FileCounts
}

// FileCounts holds the counters of one file.
type FileCounts struct {
	Fallbacks uint64
	// Reads is the number of reads whose content was generated, Time their total duration.
	Reads uint64
	Time  time.Duration
	// Buckets holds the numbers of reads that took at most the seconds in the key.
	Buckets map[float64]uint64
}

// Counts returns all counters, which are 0 before the first worker.
func (m *Meter) Counts() (Counts, error) {
	c := Counts{
		Requests: m.Requests.Load(), Containers: m.Containers.Load(),
		Triggers: m.Triggers.Load(), WorkerUp: m.WorkerUp.Load(),
		Replaced: make(map[Reason]uint64), Errors: make(map[ErrorKind]uint64),
		Files: make(map[File]FileCounts),
	}
	for r := range numReasons {
		c.Replaced[r] = m.replaced[r].Load()
	}
	for k := range numErrorKinds {
		c.Errors[k] = m.errors[k].Load()
	}
	for f := NoFile + 1; f < numFiles; f++ {
		c.Files[f] = m.file(f)
	}
	if v := m.version.Load(); v != version && v != 0 {
		return c, ErrOtherVersion
	}
	return c, nil
}

func (m *Meter) file(f File) FileCounts {
	from := &m.files[f]
	c := FileCounts{
		Fallbacks: from.fallbacks.Load(), Time: time.Duration(from.nanoseconds.Load()),
		Buckets: make(map[float64]uint64),
	}
	for i := range from.buckets {
		c.Reads += from.buckets[i].Load()
		if i < len(Bounds) {
			c.Buckets[Bounds[i].Seconds()] = c.Reads
		}
	}
	return c
}
