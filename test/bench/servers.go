package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/test/ctr"
)

// server serves the files.
type server struct {
	name string
	// dir is the directory of the files, the same on the host and in the containers.
	dir string
	// pid is 0 for the kernel.
	pid int
}

// startServers starts the servers, and returns a function that stops those that were started.
func (b *bench) startServers(ctx context.Context, dir string) (stop func() error, err error) {
	var stops []func() error
	stop = func() (err error) {
		for _, f := range slices.Backward(stops) {
			err = errors.Join(err, f())
		}
		return err
	}
	ours, err := ctr.StartDaemon(ctx, b.lxcfs, dir)
	if err != nil {
		return stop, err
	}
	stops = append(stops, ours.Stop)
	worker, err := ours.WorkerPID()
	if err != nil {
		return stop, err
	}
	b.servers = []*server{{"ours", filepath.Join(ours.Mountpoint, "proc"), worker}}
	for i, path := range b.rivals {
		name := rivalName(i)
		theirs, err := ctr.StartRival(ctx, path, filepath.Join(dir, name))
		if err != nil {
			return stop, fmt.Errorf("start %s: %w (make deps installs Debian's lxcfs)", path, err)
		}
		stops = append(stops, func() error {
			theirs.Stop() // its exit code is 1
			return nil
		})
		b.servers = append(b.servers,
			&server{name, filepath.Join(theirs.Mountpoint, "proc"), theirs.PID()})
	}
	minimal := &server{name: "minimal", dir: filepath.Join(dir, "minimal")}
	pid, stopMinimal, err := startMinimal(minimal.dir)
	if err != nil {
		return stop, err
	}
	stops = append(stops, stopMinimal)
	minimal.pid = pid
	b.servers = append(b.servers, minimal, &server{name: "bare", dir: "/proc"})
	return stop, nil
}

// served returns all servers but the kernel.
func (b *bench) served() []*server { return b.servers[:len(b.rivals)+2] }

// lxcfsServers returns ours and the rivals.
func (b *bench) lxcfsServers() []*server { return b.servers[:len(b.rivals)+1] }

// rivalName returns the name of a rival in the results.
func rivalName(i int) string {
	if i == 0 {
		return "rival"
	}
	return "rival" + strconv.Itoa(i+1)
}

// thread is the state of a thread of a server.
type thread struct {
	cpuTime time.Duration
	cpu     int
}

// threads returns the server's threads by thread ID.
func (s *server) threads() (map[string]thread, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", s.pid))
	if err != nil {
		return nil, err
	}
	found := make(map[string]thread)
	for _, task := range tasks {
		schedstat, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			continue // the thread has ended
		}
		stat, err := os.ReadFile(filepath.Join(task, "stat"))
		if err != nil {
			continue
		}
		var t thread
		if _, err := fmt.Sscan(string(schedstat), &t.cpuTime); err != nil {
			return nil, fmt.Errorf("parse %s/schedstat: %w", task, err)
		}
		_, fields, _ := strings.Cut(string(stat), ") ") // from field 3
		if t.cpu, err = strconv.Atoi(strings.Fields(fields)[39-3]); err != nil {
			return nil, fmt.Errorf("parse %s/stat: %w", task, err)
		}
		found[task] = t
	}
	return found, nil
}

// usage returns the CPU time of all threads between two states, and the last CPU of the thread that
// has used most of it.
func usage(before, after map[string]thread) (sum time.Duration, cpu int) {
	most := time.Duration(-1)
	for id, t := range after {
		used := t.cpuTime - before[id].cpuTime
		sum += used
		if used > most {
			most, cpu = used, t.cpu
		}
	}
	return sum, cpu
}
