package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"palisade/test/ctr"
)

// startServer starts an lxcfs whose threads run on the first CPU, as its readers do: else the time
// of a read depends on where the scheduler places them.
func (b *bench) startServer(ctx context.Context) (*ctr.Daemon, error) {
	s, err := ctr.StartDaemon(ctx, b.lxcfs, filepath.Join(b.dir, "server"), "--enable-loadavg")
	if err != nil {
		return nil, err
	}
	worker, err := s.WorkerPID()
	if err == nil {
		cmd := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", "0", strconv.Itoa(worker))
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("taskset: %w: %s", err, out)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// reads is the number of reads in a run.
const reads = 200

// read makes a run of reads in a container, and adds the median to a curve.
func (b *bench) read(
	p *part, title string, s *ctr.Daemon, m *ctr.Member, file string, x, reads int,
) error {
	before, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	out, err := m.Run(b.load, "time", "-pin", strconv.Itoa(reads),
		filepath.Join(s.Mountpoint, "proc", file))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	after, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	var nanos, count, ignored float64
	if _, err := fmt.Sscan(out, &nanos, &ignored, &ignored, &ignored, &count); err != nil {
		return fmt.Errorf("parse %q: %w", out, err)
	}
	b.add(p, title, x, nanos/1e3, float64((after-before).Nanoseconds())/1e3/count)
	return nil
}

// containers reads in one container while others exist, which have read before. The numbers grow
// and then shrink, so that disturbances affect all points.
func (b *bench) containers(ctx context.Context, p *part) (err error) {
	s, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
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
	files := []string{"meminfo", "stat", "uptime"}
	var cat []string
	for _, file := range files {
		cat = append(cat, filepath.Join(s.Mountpoint, "proc", file))
	}
	measure := func(x int) error {
		for range p.rounds {
			for _, file := range files {
				err := errors.Join(ctx.Err(), b.read(p, file, s, members[0], file, x, reads))
				if err != nil {
					return err
				}
			}
		}
		return b.readAll(ctx, p, s, members)
	}
	for _, x := range p.xs {
		before, err := s.WorkerCPUTime()
		if err != nil {
			return err
		}
		added := x - len(members)
		for len(members) < x {
			if err := ctx.Err(); err != nil {
				return err
			}
			m, err := crowd.Add()
			if err != nil {
				return err
			}
			members = append(members, m)
			if _, err := m.Run("cat", cat...); err != nil {
				return err
			}
		}
		after, err := s.WorkerCPUTime()
		if err != nil {
			return err
		}
		if added > 1 { // the very first reads are those of a cold server
			b.add(p, "CPU time of lxcfs for the first reads of three files in a container", x,
				(after-before).Seconds()*1e6/float64(added), 0)
		}
		if err := errors.Join(measure(x), b.idle(p, s, x)); err != nil {
			return err
		}
	}
	for i := len(p.xs) - 2; i >= 0; i-- {
		for x := p.xs[i]; len(members) > x; {
			last := len(members) - 1
			if err := members[last].Remove(); err != nil {
				return err
			}
			members = members[:last]
		}
		if err := measure(p.xs[i]); err != nil {
			return err
		}
	}
	return nil
}

// visits is the number of containers in which readAll reads.
const visits = 300

// readAll reads once in many containers, in turn: what lxcfs knows of each is no longer in the
// caches of the CPU. The time is that of a process of cat(1).
func (b *bench) readAll(ctx context.Context, p *part, s *ctr.Daemon, members []*ctr.Member) error {
	const file = "meminfo"
	before, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range visits {
		m := members[i*len(members)/visits]
		if len(members) < visits {
			m = members[i%len(members)]
		}
		if _, err := m.Run("cat", filepath.Join(s.Mountpoint, "proc", file)); err != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	took := time.Since(start)
	after, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	b.add(p, file+" by cat in all containers in turn", len(members), took.Seconds()*1e6/visits,
		float64((after-before).Nanoseconds())/1e3/visits)
	return nil
}

// idle measures the CPU time that a server uses without reads, in a second. It samples the load of
// all containers every 5 seconds.
func (b *bench) idle(p *part, s *ctr.Daemon, x int) error {
	const seconds = 10
	before, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	time.Sleep(seconds * time.Second)
	after, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	b.add(p, "CPU time of lxcfs in a second without reads", x, (after-before).Seconds()*1e6/seconds, 0)
	return nil
}

// depth reads in containers whose cgroups are nested to different depths.
func (b *bench) depth(ctx context.Context, p *part) error {
	add := func(c *ctr.Crowd, x int) (*ctr.Member, error) { return c.AddBelow(x - 1) }
	return b.inTurn(ctx, p, add, func(s *ctr.Daemon, members []*ctr.Member) error {
		for _, file := range []string{"meminfo", "stat", "uptime"} {
			for i, m := range members {
				if err := b.read(p, file, s, m, file, p.xs[i], reads); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// threads reads in containers with different numbers of threads. lxcfs counts these at most once a
// second.
func (b *bench) threads(ctx context.Context, p *part) error {
	add := func(c *ctr.Crowd, x int) (*ctr.Member, error) {
		m, err := c.Add()
		if err == nil {
			err = m.Start(b.load, "sleepers", strconv.Itoa(x))
		}
		return m, err
	}
	return b.inTurn(ctx, p, add, func(s *ctr.Daemon, members []*ctr.Member) error {
		time.Sleep(1100 * time.Millisecond)
		for i, m := range members {
			if err := b.read(p, "stat, first read in a second", s, m, "stat", p.xs[i], 1); err != nil {
				return err
			}
		}
		for _, file := range []string{"stat", "loadavg", "meminfo"} {
			for i, m := range members {
				if err := b.read(p, file, s, m, file, p.xs[i], reads); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// inTurn calls measure in each round with containers that add starts, one for each number.
func (b *bench) inTurn(ctx context.Context, p *part,
	add func(c *ctr.Crowd, x int) (*ctr.Member, error),
	measure func(s *ctr.Daemon, members []*ctr.Member) error,
) (err error) {
	s, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	crowd, err := ctr.NewCrowd()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, crowd.Close()) }()
	var members []*ctr.Member
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.Remove())
		}
	}()
	for _, x := range p.xs {
		m, err := add(crowd, x)
		if m != nil {
			members = append(members, m)
		}
		if err != nil {
			return err
		}
	}
	for range p.rounds {
		if err := errors.Join(ctx.Err(), measure(s, members)); err != nil {
			return err
		}
	}
	return nil
}
