package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"palisade/test/ctr"
)

// measureCrowd compares reads in one container with reads in one of a thousand, with a file of the
// floor for comparison, and prints the daemon's memory and idle CPU time with a thousand
// containers.
func measureCrowd(
	ctx context.Context, load string, ours *ctr.Daemon, floor string,
) (err error) {
	const containers, rounds, idle = 1000, 3000, 20 * time.Second
	crowd, err := ctr.NewCrowd()
	if err != nil {
		return err
	}
	var members []*ctr.Member
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.Remove())
		}
		err = errors.Join(err, crowd.Close())
	}()
	paths := []string{filepath.Join(floor, files[0])}
	for _, file := range files {
		paths = append(paths, filepath.Join(ours.Mountpoint, "proc", file))
	}
	read := func(m *ctr.Member, rounds int) ([]float64, error) {
		out, err := m.Run(load, append([]string{"time", strconv.Itoa(rounds)}, paths...)...)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		return parseTimes(out, len(paths))
	}
	var few, many, first []float64
	for len(members) < containers {
		m, err := crowd.Add()
		if err != nil {
			return err
		}
		members = append(members, m)
		if few == nil {
			if few, err = read(m, rounds); err != nil {
				return err
			}
		}
		// The first read includes finding the container.
		out, err := m.Run(load, "time", "1", paths[1])
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		nanos, err := parseTimes(out, 1)
		if err != nil {
			return err
		}
		first = append(first, nanos[0])
	}
	if many, err = read(members[0], rounds); err != nil {
		return err
	}
	fmt.Printf("\n%d containers, median in µs\n%-10s %9s %9s %9s\n", containers, "file", "of 1",
		"of 1000", "ratio")
	for i, file := range append([]string{"floor"}, files...) {
		fmt.Printf("%-10s %9.1f %9.1f %9.2f\n", file, few[i]/1e3, many[i]/1e3, many[i]/few[i])
	}
	fmt.Printf("the first read of a container: median %.0f µs\n", median(first[1:])/1e3)
	worker, err := ours.WorkerPID()
	if err != nil {
		return err
	}
	before, err := cpuTime(worker)
	if err != nil {
		return err
	}
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpuTime(worker)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker))
	if err != nil {
		return err
	}
	fmt.Printf("idle: %.2f %% of a CPU; %s\n", (after-before)/idle.Seconds()*100,
		statusFields(string(status), "VmRSS", "Threads"))
	return nil
}

func statusFields(status string, names ...string) string {
	var found []string
	for line := range strings.Lines(status) {
		for _, name := range names {
			if strings.HasPrefix(line, name+":") {
				found = append(found, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(found, ", ")
}
