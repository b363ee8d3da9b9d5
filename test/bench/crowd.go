package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"palisade/test/bench/stat"
	"palisade/test/ctr"
)

// measureCrowd compares reads in one container with reads in one of a thousand, and prints the
// times of the first reads, and memory and idle CPU time of the servers with a thousand containers.
func (b *bench) measureCrowd(ctx context.Context) (err error) {
	g := group{cell{Part: "crowd", Readers: 1, Containers: 1}, files, false, 9, 2, 300}
	containers, idle := 1000, 10*time.Second
	if b.quick {
		containers, idle = 100, 2*time.Second
	}
	crowd, err := ctr.NewCrowd()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, crowd.Close()) }()
	var members []*ctr.Member
	var alone []cell
	first := make(map[string][]float64) // by name of the server
	for len(members) < containers {
		m, err := crowd.Add()
		if err != nil {
			return err
		}
		members = append(members, m)
		load := func(args ...string) (string, error) { return m.Run(b.load, args...) }
		if alone == nil {
			if alone, err = b.measure(ctx, &g, load); err != nil {
				return err
			}
			b.print(alone, nil)
			continue
		}
		for _, s := range b.lxcfsServers() {
			r, err := b.runOnce(ctx, &alone[0], s, 1, load)
			if err != nil {
				return err
			}
			first[s.name] = append(first[s.name], r.P50)
		}
	}
	g.Containers = containers
	among, err := b.measure(ctx, &g, func(args ...string) (string, error) {
		return members[0].Run(b.load, args...)
	})
	if err != nil {
		return err
	}
	b.print(among, alone)
	fmt.Println()
	for _, s := range b.lxcfsServers() {
		before, err := s.threads()
		if err != nil {
			return err
		}
		time.Sleep(idle)
		after, err := s.threads()
		if err != nil {
			return err
		}
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
		if err != nil {
			return err
		}
		var size, resident int // in pages
		if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
			return fmt.Errorf("parse statm %q: %w", statm, err)
		}
		used, _ := usage(before, after)
		fmt.Printf("%s: first read of a container, median %.0f µs; idle %.2f %% of a CPU; "+
			"%d kB resident; %d threads\n", s.name, stat.Median(first[s.name]), used.Seconds()/idle.Seconds()*100,
			resident*os.Getpagesize()/1024, len(after))
	}
	return nil
}
