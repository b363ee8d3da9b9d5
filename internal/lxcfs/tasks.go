package lxcfs

import (
	"math/rand/v2"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/view"
)

const (
	// recentTasks is the maximum age of the count of tasks in /proc/stat and /proc/loadavg.
	recentTasks = time.Second
	// maxCounted bounds the threads whose state is read for a count, and maxThreads those from which
	// they are sampled. The count is extrapolated to the others.
	maxCounted = 2048
	maxThreads = 1 << 15
	// countTime bounds the time that a reader waits for a count, see also sampleTime. Reading one
	// thread takes about 20 microseconds.
	countTime = 4 * time.Millisecond
	// pauseFactor is the pause after a count, as a multiple of the time that the count took, up to
	// maxPause: the counts of all containers of a principal take at most 2 % of a CPU.
	pauseFactor = 50
	maxPause    = sampleInterval
)

// taskCount is a count of a container's tasks.
type taskCount struct {
	tasks view.Tasks
	// at is the time of the count, by FS.clock, and used the container's CPU time then.
	at   time.Duration
	used uint64
}

// tasks counts the tasks of the container, within the time limit, unless the last count is younger
// than recentTasks. If the container has used no CPU time since the last count, the count is still
// valid: a task must run to change its state. While the principal rests, tasks returns the last
// count, and isNew is false.
func (r *reader) tasks(limit time.Duration) (t view.Tasks, isNew bool, err error) {
	s, now := r.fs.stateOf(r.c), r.fs.clock()
	s.mu.Lock()
	last := s.count
	last.tasks.LastPID = s.counters.LastPID
	s.mu.Unlock()
	if last.at != 0 && now-last.at < recentTasks {
		return last.tasks, true, nil
	}
	if err := r.c.Group.CPUUsage(&r.usage, &r.files); err != nil {
		return view.Tasks{}, false, err
	}
	count := taskCount{last.tasks, now, account.Sum(r.usage.Total)}
	if last.at == 0 || count.used != last.used {
		principal := r.c.Principal()
		if !mayCount(principal, now, limit) {
			return last.tasks, false, nil
		}
		count.tasks, err = r.countTasks(limit)
		end := r.fs.clock()
		principal.Resting.Store(int64(end + min(pauseFactor*(end-now), maxPause)))
		if err != nil {
			return view.Tasks{}, false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.LastPID = max(s.counters.LastPID, count.tasks.LastPID)
	count.tasks.LastPID = s.counters.LastPID
	s.count = count
	return count.tasks, true, nil
}

// mayCount reports whether a count may be made for the principal, and reserves the time for it:
// only one count is in progress at a time.
func mayCount(p *container.Principal, now, limit time.Duration) bool {
	resting := p.Resting.Load()
	return int64(now) >= resting && p.Resting.CompareAndSwap(resting, int64(now+pauseFactor*limit))
}

// shownTasks returns the tasks as the reader sees them. The reader itself counts as running, though
// it waits for this content.
func (r *reader) shownTasks() (view.Tasks, error) {
	t, isNew, err := r.tasks(countTime)
	if !isNew && err == nil {
		if all, ok := r.c.Group.Tasks(&r.files); ok {
			t.Total = all
		}
	}
	t.Running = max(t.Running, 1)
	t.Total = max(t.Total, t.Running)
	return t, err
}

// lastPID returns the last pid of the container's pid namespace as far as it is known: at least the
// reader's.
func (r *reader) lastPID(counted int) int {
	own, err := r.c.PIDInside(r.fs.proc, int(r.tid), &r.find)
	if err != nil || own <= counted {
		return counted
	}
	s := r.fs.stateOf(r.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.LastPID = max(s.counters.LastPID, own)
	r.fs.save(s)
	return own
}

// countTasks reads the state of each thread, or of a random sample, within the time limit.
func (r *reader) countTasks(limit time.Duration) (view.Tasks, error) {
	until := time.Now().Add(limit)
	listUntil := until.Add(-limit / 2)
	threads, err := r.c.Group.Threads(r.threads[:0], maxThreads, listUntil, &r.files)
	if err != nil {
		return view.Tasks{}, err
	}
	if r.threads = threads; len(threads) > maxCounted {
		r.threads = nil // free the memory of a large list
	}
	var t view.Tasks
	counted, newest, started := 0, 0, time.Duration(-1)
	for most := min(len(threads), maxCounted); counted < most; counted++ {
		other := len(threads) - 1 // the last in the list is likely the newest
		if counted > 0 {
			if time.Now().After(until) {
				break
			}
			other = counted + rand.IntN(len(threads)-counted)
		}
		threads[counted], threads[other] = threads[other], threads[counted]
		tid := threads[counted]
		var stat procfs.TaskStat
		if stat, r.buf, err = procfs.ReadTaskStatIn(r.fs.proc, tid, r.buf); err != nil {
			continue // it has ended
		}
		switch stat.State {
		case 'R':
			t.Running++
		case 'D':
			t.Blocked++
		}
		if stat.Start > started || stat.Start == started && tid > newest {
			newest, started = tid, stat.Start
		}
	}
	t.Total = len(threads)
	if all, ok := r.c.Group.Tasks(&r.files); ok {
		t.Total = max(t.Total, all)
	}
	if counted > 0 {
		t.Running, t.Blocked = t.Running*t.Total/counted, t.Blocked*t.Total/counted
	}
	if newest != 0 { // an error means that it has ended; an older pid is shown then
		t.LastPID, _ = r.c.PIDInside(r.fs.proc, newest, &r.find)
	}
	return t, nil
}
