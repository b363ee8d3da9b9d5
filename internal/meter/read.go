package meter

import "time"

// Counts are the counters at one moment.
type Counts struct {
	WorkerUp bool
	Replaced map[Reason]uint64

	Requests, Containers, Triggers uint64
	Errors                         map[Kind]uint64
	Files                          map[File]FileCounts
}

// FileCounts are those of one file.
type FileCounts struct {
	Fallbacks uint64
	// Reads are those for which the text was made, Time what all of them took.
	Reads uint64
	Time  time.Duration
	// Buckets are the reads that took no longer than each of Bounds.
	Buckets [len(Bounds)]uint64
}

// Counts reads all counters. While no worker has begun to count they are nothing.
func (m *Meter) Counts() (Counts, error) {
	c := Counts{
		WorkerUp: m.at(upAt).Load() != 0, Replaced: make(map[Reason]uint64),
		Requests: m.at(requestsAt).Load(), Containers: m.at(containersAt).Load(), Triggers: m.at(triggersAt).Load(),
		Errors: make(map[Kind]uint64), Files: make(map[File]FileCounts),
	}
	for r := range reasons {
		c.Replaced[r] = m.at(replacedAt + int(r)).Load()
	}
	for k := range kinds {
		c.Errors[k] = m.at(errorsAt + int(k)).Load()
	}
	for f := NoFile + 1; f < files; f++ {
		c.Files[f] = m.file(f)
	}
	if v := m.at(versionAt).Load(); v != version && v != 0 {
		return c, ErrOtherVersion
	}
	return c, nil
}

func (m *Meter) file(f File) FileCounts {
	c := FileCounts{Fallbacks: m.in(f, fallbacksIn).Load(), Time: time.Duration(m.in(f, timeIn).Load())}
	for i := range buckets {
		c.Reads += m.in(f, bucketsIn+i).Load()
		if i < len(Bounds) {
			c.Buckets[i] = c.Reads
		}
	}
	return c
}

// ByBound are the buckets by their bounds in seconds.
func (c *FileCounts) ByBound() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(Bounds))
	for i, bound := range Bounds {
		buckets[bound.Seconds()] = c.Buckets[i]
	}
	return buckets
}
