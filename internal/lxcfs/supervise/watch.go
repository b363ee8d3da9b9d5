package supervise

import (
	"context"
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

const (
	// checkInterval is the interval at which workers are checked and the current one is pinged. A
	// worker that gives no sign of life for probeTime, not counting time in which it waits for a
	// CPU, is killed.
	checkInterval = 500 * time.Millisecond
	probeTime     = 2 * time.Second
	// startTime is the time that a worker may take to be ready, not counting time in which it waits
	// for a CPU, leaveTime the time that it may take to leave.
	startTime = 20 * time.Second
	leaveTime = 2 * time.Second
	// dyingTime is the time that a killed worker may take to end.
	dyingTime = 2 * time.Second
)

// watch kills workers that take too long, checks the current one, and reports whether Run must
// return.
func (s *Supervisor) watch() (done bool) {
	for _, w := range []*process{s.current, s.next} {
		switch {
		case w == nil || !w.killed.IsZero():
		case !w.ready:
			if w.silent += s.timeWithCPU(w); w.silent > startTime {
				s.kill(w, "the worker does not become ready")
			}
		case !w.leaving.IsZero() && time.Since(w.leaving) > leaveTime:
			s.kill(w, "the worker does not leave")
		}
	}
	if s.next.isStuck() {
		s.abandonUpgrade("does not die")
	}
	if s.current.isStuck() {
		s.Log.Warn("the worker does not die: the next one takes over", "pid", s.current.Pid)
		if handled, done := s.clearCurrent(); handled {
			return done
		}
		s.Meter.Replaced(meter.Hung)
		s.startCurrent()
		return false
	}
	s.checkCurrent()
	return false
}

// checkCurrent pings the current worker, and kills it if it has answered neither pings nor requests
// of the kernel for probeTime.
func (s *Supervisor) checkCurrent() {
	w := s.current
	if w == nil || !w.serving || !w.leaving.IsZero() {
		return
	}
	if !w.answersPing {
		s.probe()
		return
	}
	answered := s.Answered.Load()
	if w.isAlive || answered != s.answered {
		w.silent, w.cpu = 0, nil
	} else {
		w.silent += s.timeWithCPU(w)
	}
	w.isAlive, s.answered = false, answered
	if w.silent >= probeTime {
		if w.killed.IsZero() {
			s.kill(w, "the worker does not answer")
		}
		return
	}
	w.tell(Ping)
}

// probe starts a read of a served file, to check the current worker.
func (s *Supervisor) probe() {
	if s.probed != nil {
		return
	}
	probed := make(chan error, 1)
	s.probed = probed
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		defer cancel()
		probed <- s.Probe(ctx)
	}()
}

// leave makes a worker leave. If it does not, watch kills it.
func (s *Supervisor) leave(w *process) {
	if w.leaving.IsZero() {
		w.leaving = time.Now()
		w.tell(Leave)
	}
}

func (s *Supervisor) kill(w *process, why string) {
	s.Log.Error(why+": it is killed", "pid", w.Pid)
	w.Kill()
	if w.killed.IsZero() {
		w.killed = time.Now()
	}
}

// A worker that waits for a CPU does not hang: on a busy host another one in its place would wait
// as long. Such a worker has a thread that is runnable and does not run. A blocked worker has none,
// and one that spins uses CPU time.

// threadTimes is the state and the CPU time of a thread.
type threadTimes struct {
	tid        int
	isRunnable bool // it runs or waits for a CPU
	cpu        time.Duration
}

// readThreads reads the threads of the process pid. It leaves out those that end meanwhile.
func readThreads(proc sys.File, pid int) (threads []threadTimes) {
	dir, err := proc.OpenDirAt(strconv.Itoa(pid))
	if err != nil {
		return nil
	}
	defer dir.Close()
	tasks, err := dir.OpenDirAt("task")
	if err != nil {
		return nil
	}
	defer tasks.Close()
	names, err := tasks.List()
	if err != nil {
		return nil
	}
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if stat, _, err := procfs.ReadTaskStat(dir, tid, nil); err == nil {
			threads = append(threads, threadTimes{tid, stat.State == 'R', stat.CPU})
		}
	}
	return threads
}

// timeWithCPU returns the time since the last check in which the worker did not wait for a CPU. The
// time between checks counts as checkInterval, since this process may not have run for a while.
func (s *Supervisor) timeWithCPU(w *process) time.Duration {
	threads := s.threads(w.Pid)
	last := w.cpu
	w.cpu = make(map[int]time.Duration, len(threads))
	used, available := time.Duration(0), checkInterval
	for _, t := range threads {
		ran := t.cpu - last[t.tid]
		if last == nil {
			ran = 0 // the first check of this worker
		}
		if used += ran; t.isRunnable {
			available = min(available, ran)
		}
		w.cpu[t.tid] = t.cpu
	}
	// Threads that spin wait for one another if there are more of them than CPUs.
	return min(max(available, used), checkInterval)
}
