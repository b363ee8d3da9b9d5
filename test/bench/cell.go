package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/test/bench/stat"
)

// cell describes how a file is read, and holds the results by name of the server.
type cell struct {
	// Part is the name for the flag -only.
	Part, File string
	// Readers is the number of threads.
	Readers int
	// Pinned means that each thread is pinned to a CPU.
	Pinned bool
	// Pause is the time before each read, as JSON in nanoseconds.
	Pause time.Duration
	// Burst is the number of reads after each pause.
	Burst int
	// Cat means that each read is a new process of cat(1).
	Cat bool
	// Beside is the number of threads of another container that read at the same time.
	Beside int
	// Containers is the number of containers, of which one reads, or 0 for those of runc.
	Containers int
	Results    map[string]result
}

// result holds the medians of several runs. Times are in microseconds.
type result struct {
	P50, P90, P99, Mean float64
	// ServerCPU and ReaderCPU are the CPU times per read. ServerCPU is 0 if it was not measured.
	ServerCPU, ReaderCPU float64
	// Rate is the number of reads per second.
	Rate float64
	// SameCPU is the share of runs after which the first reader and the server's busiest thread
	// were on the same CPU, or -1 if it was not measured.
	SameCPU float64
	// P50Same and P50Cross are the medians over the runs on the same CPU and on two CPUs, or 0 if
	// there were none.
	P50Same, P50Cross float64
}

// runLimit is the time after which a run stops early. A run has at least 5 reads.
const runLimit = 2 * time.Second

// measure measures the cells of a group. load runs the program load in a container.
func (b *bench) measure(
	ctx context.Context, g *group, load func(args ...string) (string, error),
) ([]cell, error) {
	servers := b.served()
	if g.bare {
		servers = b.servers
	}
	runs := g.runs
	if b.quick {
		runs = g.quickRuns
	}
	results := make(map[string][]result) // by file and name of the server
	for i := range runs {
		for _, file := range g.files {
			for j := range servers {
				s := servers[(i+j)%len(servers)]
				c := g.cell
				c.File = file
				r, err := b.runOnce(ctx, &c, s, g.reads, load)
				if err != nil {
					return nil, fmt.Errorf("read %s of %s: %w", file, s.name, err)
				}
				results[file+s.name] = append(results[file+s.name], r)
			}
		}
	}
	var cells []cell
	for _, file := range g.files {
		c := g.cell
		c.File, c.Results = file, make(map[string]result)
		for _, s := range servers {
			c.Results[s.name] = medians(results[file+s.name])
		}
		cells = append(cells, c)
	}
	b.cells = append(b.cells, cells...)
	return cells, nil
}

// runOnce makes one run, unless ctx is done.
func (b *bench) runOnce(
	ctx context.Context, c *cell, s *server, reads int, load func(args ...string) (string, error),
) (r result, err error) {
	if err := ctx.Err(); err != nil {
		return r, err
	}
	path := filepath.Join(s.dir, c.File)
	if c.Beside > 0 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.unlimited.Exec(ctx, "load", "rate", "60", strconv.Itoa(c.Beside), path) // until killed
		}()
		defer func() {
			_, killErr := b.unlimited.Exec(ctx, "killall", "-9", "load")
			<-done
			err = errors.Join(err, killErr)
		}()
		time.Sleep(300 * time.Millisecond) // until all threads read
	}
	before, err := s.threads()
	if err != nil {
		return r, err
	}
	out, err := load("time", "-pause", c.Pause.String(), "-limit", runLimit.String(),
		"-burst", strconv.Itoa(max(1, c.Burst)), "-threads", strconv.Itoa(c.Readers), "-pin="+strconv.FormatBool(c.Pinned),
		"-cat="+strconv.FormatBool(c.Cat), strconv.Itoa(reads), path)
	if err != nil {
		return r, fmt.Errorf("%w: %s", err, out)
	}
	after, err := s.threads()
	if err != nil {
		return r, err
	}
	var count float64
	var readerAt int
	if _, err := fmt.Sscan(out, &r.P50, &r.P90, &r.P99, &r.Mean, &count, &r.Rate, &r.ReaderCPU,
		&readerAt); err != nil {
		return r, fmt.Errorf("parse %q: %w", out, err)
	}
	for _, nanos := range []*float64{&r.P50, &r.P90, &r.P99, &r.Mean, &r.ReaderCPU} {
		*nanos /= 1e3
	}
	r.SameCPU = -1
	if s.pid == 0 || c.Beside > 0 { // no server, or most requests are the other container's
		return r, nil
	}
	used, serverAt := usage(before, after)
	r.ServerCPU = float64(used.Nanoseconds()) / 1e3 / count
	if !c.Cat {
		r.SameCPU = 0
		if serverAt == readerAt {
			r.SameCPU = 1
		}
	}
	return r, nil
}

// medians returns the medians of the runs, and the mean of SameCPU.
func medians(runs []result) (m result) {
	of := func(field func(*result) *float64) {
		var values []float64
		for i := range runs {
			values = append(values, *field(&runs[i]))
		}
		*field(&m) = stat.Median(values)
	}
	of(func(r *result) *float64 { return &r.P50 })
	of(func(r *result) *float64 { return &r.P90 })
	of(func(r *result) *float64 { return &r.P99 })
	of(func(r *result) *float64 { return &r.Mean })
	of(func(r *result) *float64 { return &r.ServerCPU })
	of(func(r *result) *float64 { return &r.ReaderCPU })
	of(func(r *result) *float64 { return &r.Rate })
	var same, cross []float64
	for _, r := range runs {
		m.SameCPU += r.SameCPU / float64(len(runs))
		switch r.SameCPU {
		case 1:
			same = append(same, r.P50)
		case 0:
			cross = append(cross, r.P50)
		}
	}
	m.P50Same, m.P50Cross = stat.Median(same), stat.Median(cross)
	return m
}

// print prints a table of cells of one group. The ratios are those of the cells to alone, or if
// alone is nil, rival : ours, ours : minimal and ours : bare.
func (b *bench) print(cells, alone []cell) {
	first := &cells[0]
	fmt.Printf("\n%s: readers %d, pinned %t, pause %v", first.Part, first.Readers, first.Pinned,
		first.Pause)
	if first.Burst > 0 {
		fmt.Printf(" before each %d reads", first.Burst)
	}
	if first.Beside > 0 {
		fmt.Printf(", beside %d threads of another container", first.Beside)
	}
	if first.Containers > 0 {
		fmt.Printf(", containers %d", first.Containers)
	}
	fmt.Print("\n\n")
	fmt.Println("| file      | server  |     p50 |     p90 |     p99 |    mean | server CPU " +
		"| reader CPU | reads/s | same CPU | p50 same | p50 cross | ratio p50 |  same | cross |   CPU |")
	fmt.Println("|" + strings.Repeat(" --- |", 16))
	for i, c := range cells {
		for _, s := range b.servers {
			r, ok := c.Results[s.name]
			if !ok {
				continue
			}
			over, under := r, c.Results["ours"]
			switch {
			case alone != nil:
				under = alone[i].Results[s.name]
			case !slices.Contains(b.lxcfsServers(), s):
				over, under = under, over
			}
			share := "-"
			if r.SameCPU >= 0 {
				share = fmt.Sprintf("%.0f %%", r.SameCPU*100)
			}
			fmt.Printf("| %-9s | %-7s | %7.1f | %7.1f | %7.1f | %7.1f | %10s | %10.1f | %7.0f | %8s "+
				"| %8s | %9s | %9s | %5s | %5s | %5s |\n", c.File, s.name, r.P50, r.P90, r.P99, r.Mean,
				measured(r.ServerCPU), r.ReaderCPU, r.Rate, share, measured(r.P50Same),
				measured(r.P50Cross), ratio(over.P50, under.P50), ratio(over.P50Same, under.P50Same),
				ratio(over.P50Cross, under.P50Cross), ratio(over.ServerCPU, under.ServerCPU))
		}
	}
}

// measured formats a time, or returns "-" if it is 0.
func measured(micros float64) string {
	if micros == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", micros)
}

// ratio returns a ratio of times, or "-" if one of them is 0.
func ratio(over, under float64) string {
	if over == 0 || under == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", over/under)
}
