package lxcfs

import (
	"strconv"
	"time"

	"palisade/internal/account"
	"palisade/internal/procfs"
	"palisade/internal/sys"
	"palisade/internal/view"
)

const (
	// recentTasks is how old a count of tasks may be that is shown in /proc/stat and /proc/loadavg.
	recentTasks = time.Second
	// maxCounted bounds the threads whose state is read for a count; of more, the share of the active ones is taken to
	// be the same.
	maxCounted = 2048
)

// taskCount is a count of a container's tasks.
type taskCount struct {
	tasks view.Tasks
	// at is when it was made, as the time since boot; used the container's CPU time then.
	at   time.Duration
	used uint64
}

// tasks counts the tasks of the container, unless there is a count that is not older than maxAge. A container that has
// used no CPU time since the last count has the same tasks in the same states, for to change its state a task must run.
func (r *reader) tasks(maxAge time.Duration) (view.Tasks, error) {
	g, now := r.guest(), sys.SinceBoot()
	g.mu.Lock()
	last := g.count
	g.mu.Unlock()
	if last.at != 0 && now-last.at < maxAge {
		return last.tasks, nil
	}
	if err := r.c.Group.CPUUsage(&r.usage, &r.files); err != nil {
		return view.Tasks{}, err
	}
	used := account.Sum(r.usage.Total)
	count := taskCount{last.tasks, now, used}
	if last.at == 0 || used != last.used {
		var err error
		if count.tasks, err = r.countTasks(); err != nil {
			return view.Tasks{}, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	count.tasks.LastPID = max(count.tasks.LastPID, g.count.tasks.LastPID)
	g.count = count
	return count.tasks, nil
}

// shownTasks are the tasks as the reader is to see them. The reader itself runs: that it waits for this text is none of
// its business.
func (r *reader) shownTasks() (view.Tasks, error) {
	t, err := r.tasks(recentTasks)
	t.Running = max(t.Running, 1)
	t.Total = max(t.Total, 1)
	return t, err
}

// lastPID is the last pid of the container's pid namespace, as far as it is known: at least that of the reader.
func (r *reader) lastPID(counted int) int {
	own, err := r.c.PIDInside(r.fs.proc, int(r.tid), &r.find)
	if err != nil || own <= counted {
		return counted
	}
	g := r.guest()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count.tasks.LastPID = max(g.count.tasks.LastPID, own)
	r.fs.state.save(g)
	return own
}

// countTasks reads the state of each thread.
func (r *reader) countTasks() (view.Tasks, error) {
	var err error
	if r.threads, err = r.c.Group.Threads(r.threads[:0], maxCounted, &r.files); err != nil {
		return view.Tasks{}, err
	}
	var t view.Tasks
	newest, started := 0, time.Duration(-1)
	for _, tid := range r.threads {
		if r.text, err = r.fs.proc.ReadFileAt(strconv.Itoa(tid)+"/stat", r.text); err != nil {
			continue // it has ended
		}
		stat, err := procfs.ParseTaskStat(r.text)
		if err != nil {
			return view.Tasks{}, err
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
	t.Total = len(r.threads)
	if all, ok := r.c.Group.Tasks(&r.files); ok && all > t.Total {
		t.Running, t.Blocked = scale(t.Running, all, t.Total), scale(t.Blocked, all, t.Total)
		t.Total = all
	}
	if newest != 0 {
		t.LastPID, _ = r.c.PIDInside(r.fs.proc, newest, &r.find) // it may have ended meanwhile: then an older pid is shown
	}
	return t, nil
}

// scale makes n of total the same share of all.
func scale(n, all, total int) int {
	if total == 0 {
		return 0
	}
	return n * all / total
}
