package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/test/ctr"
)

// compareRates reads with four threads through each daemon in turn, and prints the rate and the
// daemon's CPU time per read.
func compareRates(ctx context.Context, c *ctr.Container, ours, theirs *ctr.Daemon) error {
	const threads, seconds, turns = 4, 1, 5
	worker, err := ours.WorkerPID()
	if err != nil {
		return err
	}
	fmt.Printf("\n%d concurrent readers\n%-10s %9s %9s %13s %12s %12s %13s\n", threads, "file",
		"ours/s", "rival/s", "ours : rival", "ours CPU µs", "rival CPU µs", "rival : ours")
	for _, file := range files {
		var reads, cpu [2]float64
		for range turns {
			for i, pid := range []int{worker, theirs.PID()} {
				before, err := cpuTime(pid)
				if err != nil {
					return err
				}
				out, err := c.Exec(ctx, "load", "rate", strconv.Itoa(seconds), strconv.Itoa(threads),
					dirs[i]+"/"+file)
				if err != nil {
					return err
				}
				n, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
				if err != nil {
					return err
				}
				after, err := cpuTime(pid)
				if err != nil {
					return err
				}
				reads[i] += n
				cpu[i] += after - before
			}
		}
		each := [2]float64{cpu[0] / reads[0] * 1e6, cpu[1] / reads[1] * 1e6}
		fmt.Printf("%-10s %9.0f %9.0f %13.2f %12.1f %12.1f %13.2f\n", file,
			reads[0]/turns/seconds, reads[1]/turns/seconds, reads[0]/reads[1], each[0], each[1],
			each[1]/each[0])
	}
	return nil
}

// cpuTime returns the CPU time of a process in seconds (fields 14 and 15 of /proc/<pid>/stat, in
// ticks of 10 ms).
func cpuTime(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks float64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return ticks / 100, nil
}

// measureNeighbour compares reads with and without another container that reads with 64 threads.
func measureNeighbour(ctx context.Context, c, neighbour *ctr.Container) error {
	const rounds, turns = 500, 5
	fmt.Printf("\nmeminfo beside a container that reads with 64 threads, median in µs\n"+
		"%-10s %9s %9s %9s\n", "", "alone", "beside", "ratio")
	for i, name := range []string{"ours", "rival", "bare", "floor"} {
		var alone, beside []float64
		for range turns {
			for _, busy := range []bool{false, true} {
				done := make(chan error, 1)
				if busy {
					go func() {
						_, err := neighbour.Exec(ctx, "load", "rate", "4", "64", dirs[i]+"/meminfo")
						done <- err
					}()
					time.Sleep(300 * time.Millisecond)
				} else {
					done <- nil
				}
				out, err := c.Exec(ctx, "load", "time", strconv.Itoa(rounds), dirs[i]+"/meminfo")
				if err := errors.Join(err, <-done); err != nil {
					return err
				}
				nanos, err := parseTimes(out, 1)
				if err != nil {
					return err
				}
				if busy {
					beside = append(beside, nanos[0]/1e3)
				} else {
					alone = append(alone, nanos[0]/1e3)
				}
			}
		}
		a, b := median(alone), median(beside)
		fmt.Printf("%-10s %9.1f %9.1f %9.2f\n", name, a, b, b/a)
	}
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
