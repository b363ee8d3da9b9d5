package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"palisade/internal/userns/ranges"
)

// newRegistry returns an empty registry with room for all numbers of ranges.
func (b *bench) newRegistry(name string) (*ranges.Registry, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "ranges.json")
	const bounds = `{"bounds":["1879048192-2147352575","2147483648-4294836223"]}`
	if err := os.WriteFile(config, []byte(bounds), 0o600); err != nil {
		return nil, err
	}
	return ranges.Open(ranges.Dirs{State: filepath.Join(dir, "state"), Lock: filepath.Join(dir, "lock"),
		Config: config})
}

// allocations is the number of allocations of one measurement, whose median counts.
const allocations = 20

// allocate measures allocations for containers, and frees them.
func (b *bench) allocate(ctx context.Context, p *part, title string, x int,
	r *ranges.Registry,
) error {
	for n := range allocations {
		c := ranges.Container{ID: fmt.Sprintf("measured-%d", n), Bundle: "/bundle"}
		q := ranges.Request{Registry: r, Container: c}
		begin := time.Now()
		if _, err := q.ForContainer(ctx); err != nil {
			return err
		}
		b.add(p, title, x, time.Since(begin).Seconds()*1e6, 0)
		if err := r.Release(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// ranges measures allocations with other ranges in the registry.
func (b *bench) ranges(ctx context.Context, p *part) error {
	r, err := b.newRegistry("ranges")
	if err != nil {
		return err
	}
	filled := 0
	for _, x := range p.xs {
		for ; filled < x; filled++ {
			q := ranges.Request{Registry: r,
				Container: ranges.Container{ID: fmt.Sprintf("other-%d", filled), Bundle: "/bundle"}}
			if _, err := q.ForContainer(ctx); err != nil {
				return err
			}
		}
		for range p.rounds {
			if err := b.allocate(ctx, p, "allocation of a range", x, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// processes measures allocations while the host has different numbers of processes.
func (b *bench) processes(ctx context.Context, p *part) (err error) {
	r, err := b.newRegistry("processes")
	if err != nil {
		return err
	}
	var started []*exec.Cmd
	defer func() {
		for _, cmd := range started {
			err = errors.Join(err, cmd.Process.Kill())
			cmd.Wait() // reports the signal
		}
	}()
	for _, x := range p.xs {
		for len(started) < x {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				return err
			}
			started = append(started, cmd)
		}
		for range p.rounds {
			if err := b.allocate(ctx, p, "allocation of a range, with processes", x, r); err != nil {
				return err
			}
		}
	}
	return nil
}
