// Command front measures Docker's API through authz-broker front, through haproxy, and without a
// proxy: latency, rate, throughput, CPU time and memory.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"palisade/test/bench/stat"
	"palisade/test/ctr"
)

// options are those of the command line.
type options struct {
	broker, haproxy                       string
	rounds, requests, transfers, megabyte int
}

func main() {
	var o options
	flag.StringVar(&o.broker, "broker", "bin/authz-broker", "authz-broker")
	flag.StringVar(&o.haproxy, "haproxy", "haproxy", "haproxy, which runs docker-socket-proxy's rules")
	flag.IntVar(&o.rounds, "rounds", 7, "number of rounds, in turn; medians are printed")
	flag.IntVar(&o.requests, "requests", 3000, "number of requests in a round")
	flag.IntVar(&o.transfers, "transfers", 3, "number of rounds of docker save and docker load")
	flag.IntVar(&o.megabyte, "size", 1000, "size in MB of the image")
	flag.Parse()
	ctr.MainIsolated("bench", func() (int, error) {
		if err := o.run(); err != nil {
			return 1, err
		}
		return 0, nil
	})
}

// target is a socket at which the engine's API is measured.
type target struct {
	name, socket string
	process      *process // nil without a proxy
}

func (o options) run() (err error) {
	dir, err := os.MkdirTemp("/run", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	stop, err := startEngine(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	image, err := fillEngine(dir, o.megabyte)
	if err != nil {
		return err
	}
	targets := []target{{name: "no proxy", socket: engineSocket}}
	for _, start := range []func(string) (target, error){o.startFront, o.startHaproxy} {
		t, err := start(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.process.stop()) }()
		targets = append(targets, t)
	}
	if err := o.compareRequests(targets); err != nil {
		return err
	}
	if o.transfers == 0 {
		return nil
	}
	return o.compareTransfers(targets, image)
}

// clients is the number of concurrent clients for the rate.
const clients = 8

func (o options) compareRequests(targets []target) error {
	fmt.Printf("%d requests in a round, %d rounds in turn, medians; the rate is that of %d clients\n",
		o.requests, o.rounds, clients)
	fmt.Printf("%-46s %10s %10s %10s %10s %8s %10s %7s\n", "", "p50", "added", "p99", "added",
		"1/s", "CPU each", "ratio")
	for _, path := range []string{"/_ping", "/containers/json?all=1"} {
		p50, p99 := make([][]time.Duration, len(targets)), make([][]time.Duration, len(targets))
		rates, cpu := make([][]float64, len(targets)), make([]time.Duration, len(targets))
		for range o.rounds {
			for i, t := range targets {
				times, err := latencies(t.socket, path, o.requests)
				if err != nil {
					return fmt.Errorf("%s: %w", t.name, err)
				}
				p50[i] = append(p50[i], times[len(times)/2])
				p99[i] = append(p99[i], times[len(times)*99/100])
				before := t.process.cpu()
				rate, err := rate(t.socket, path, o.requests)
				if err != nil {
					return fmt.Errorf("%s: %w", t.name, err)
				}
				cpu[i] += t.process.cpu() - before
				rates[i] = append(rates[i], rate)
			}
		}
		for i, t := range targets {
			fmt.Printf("%-46s %10v %10v %10v %10v %8.0f %10v %7.2f\n", t.name+", "+path,
				µs(stat.Median(p50[i])), µs(stat.Median(p50[i])-stat.Median(p50[0])), µs(stat.Median(p99[i])),
				µs(stat.Median(p99[i])-stat.Median(p99[0])), stat.Median(rates[i]),
				µs(cpu[i]/time.Duration(o.rounds*o.requests)), stat.Median(rates[i])/stat.Median(rates[0]))
		}
	}
	return nil
}

func (o options) compareTransfers(targets []target, image string) error {
	file := filepath.Join(filepath.Dir(image), "saved.tar")
	fmt.Printf("\nan image of %d MB, %d rounds in turn, medians\n", o.megabyte, o.transfers)
	fmt.Printf("%-46s %10s %7s %10s\n", "", "MB/s", "ratio", "CPU each")
	for _, op := range []struct {
		name string
		run  func(t target) (int64, error)
	}{
		{"save", func(t target) (int64, error) { return save(t.socket, io.Discard) }},
		{"load", func(t target) (int64, error) { return load(t.socket, file) }},
	} {
		if op.name == "load" {
			if err := saveTo(file); err != nil {
				return err
			}
		}
		speeds, cpu := make([][]float64, len(targets)), make([]time.Duration, len(targets))
		for range o.transfers {
			for i, t := range targets {
				before, started := t.process.cpu(), time.Now()
				n, err := op.run(t)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", t.name, op.name, err)
				}
				speeds[i] = append(speeds[i], float64(n)/1e6/time.Since(started).Seconds())
				cpu[i] += t.process.cpu() - before
			}
		}
		for i, t := range targets {
			fmt.Printf("%-46s %10.0f %7.2f %10v\n", t.name+", "+op.name, stat.Median(speeds[i]),
				stat.Median(speeds[i])/stat.Median(speeds[0]),
				(cpu[i] / time.Duration(o.transfers)).Round(time.Millisecond))
		}
	}
	fmt.Println()
	for _, t := range targets[1:] {
		memory, err := t.process.memory()
		if err != nil {
			return err
		}
		fmt.Printf("%-46s %s\n", t.name+", memory", memory)
	}
	return nil
}

func µs(d time.Duration) time.Duration { return d.Round(100 * time.Nanosecond) }
