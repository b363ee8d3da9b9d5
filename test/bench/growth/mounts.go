package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// mountTableAge is the time after which lxcfs reads the host's mount table again.
const mountTableAge = 5*time.Second + 100*time.Millisecond

// mounts runs hooks and reads files while the host, or the container, has different numbers of
// mounts. The containers' root is an overlay: lxcfs finds its disk in the host's mount table.
func (b *bench) mounts(ctx context.Context, p *part) (err error) {
	s, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	rootfs, merged := filepath.Join(b.dir, "rootfs"), filepath.Join(b.dir, "merged")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return err
	}
	empty, many := filepath.Join(b.dir, "empty"), filepath.Join(b.dir, "many")
	for _, dir := range []string{merged, empty, many, filepath.Join(rootfs, "mnt")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	defer syscall.Unmount(many, syscall.MNT_DETACH) // after an error
	layers := "lowerdir=" + empty + ":" + rootfs
	if err := syscall.Mount("overlay", merged, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	defer func() { err = errors.Join(err, syscall.Unmount(merged, syscall.MNT_DETACH)) }()
	options := ctr.Options{Rootfs: merged, ReadOnly: true, Lxcfs: s.Mountpoint}
	alone, err := ctr.Start(ctx, b.dir, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.Remove()) }()
	for range p.rounds {
		for _, x := range p.xs {
			if err := errors.Join(ctx.Err(), mountMany(many, x)); err != nil {
				return err
			}
			err := errors.Join(b.hook(p, s, rootfs, x), b.remount(p, s, x))
			time.Sleep(mountTableAge)
			err = errors.Join(err, b.readDisks(ctx, p, "diskstats, host's mounts", s, alone, x),
				syscall.Unmount(many, syscall.MNT_DETACH))
			if err != nil {
				return err
			}
		}
	}
	var full []*ctr.Container // each has that number of mounts
	defer func() {
		for _, c := range full {
			err = errors.Join(err, c.Remove())
		}
	}()
	options.Mounts = []specs.Mount{
		{Destination: "/mnt", Type: "bind", Source: many, Options: []string{"rbind"}},
	}
	for _, x := range p.xs {
		if err := mountMany(many, x); err != nil {
			return err
		}
		c, err := ctr.Start(ctx, b.dir, options)
		if err != nil {
			return err
		}
		full = append(full, c)
		if err := syscall.Unmount(many, syscall.MNT_DETACH); err != nil {
			return err
		}
	}
	for round := range p.rounds {
		time.Sleep(mountTableAge)
		for i := range full {
			i = (i + round) % len(full) // the first one reads the host's table
			err := b.readDisks(ctx, p, "diskstats, container's mounts", s, full[i], p.xs[i])
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// mountMany mounts a tmpfs on dir, and n bind mounts below it.
func mountMany(dir string, n int) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	for i := range n {
		point := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(point, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(source, point, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind mount %d: %w", i, err)
		}
	}
	return nil
}

// readDisks reads diskstats once in a container.
func (b *bench) readDisks(
	ctx context.Context, p *part, title string, s *ctr.Daemon, c *ctr.Container, x int,
) error {
	before, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	out, err := c.Exec(ctx, "load", "time", "1", "/proc/diskstats")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	after, err := s.WorkerCPUTime()
	if err != nil {
		return err
	}
	var nanos float64
	if _, err := fmt.Sscan(out, &nanos); err != nil {
		return fmt.Errorf("parse %q: %w", out, err)
	}
	b.add(p, title, x, nanos/1e3, (after-before).Seconds()*1e6)
	return nil
}

// hook runs the hook for a new container, whose mount namespace has the host's mounts as well.
func (b *bench) hook(p *part, s *ctr.Daemon, rootfs string, x int) (err error) {
	c, err := ctr.StartStarting(rootfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	return b.runToolkit(p, "CPU time of the hook", s, c.State(), x, "hook", "--strict")
}

// remount runs remount while all mounts of all containers are in place.
func (b *bench) remount(p *part, s *ctr.Daemon, x int) error {
	return b.runToolkit(p, "CPU time of remount with nothing to do", s, "", x, "remount", "--all")
}

// runToolkit runs lxcfs-toolkit and adds its CPU time to a curve.
func (b *bench) runToolkit(
	p *part, title string, s *ctr.Daemon, stdin string, x int, args ...string,
) error {
	cmd := exec.Command(b.toolkit, append([]string{
		"--mountpoint", s.Mountpoint, "--runtime-dir", filepath.Join(filepath.Dir(s.Mountpoint), "run"),
	}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lxcfs-toolkit %q: %w: %s", args, err, out)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.add(p, title, x, used.Seconds()*1e6, 0)
	return nil
}
