package supervise

import (
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

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
