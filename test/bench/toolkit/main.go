// Command toolkit measures lxcfs-toolkit: its start, its hook in the start of a container, and
// remount of many containers. Compared programs run in turn. It prints medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/bench/stat"
	"palisade/test/ctr"
)

func main() {
	ctr.MainIsolated("bench", func() (int, error) { return 0, run() })
}

// bench holds the arguments of all measurements.
type bench struct {
	toolkit, rootfs, dir string
	lxcfs                *ctr.Daemon
}

func run() (err error) {
	lxcfs := flag.String("lxcfs", "bin/lxcfs", "lxcfs")
	toolkit := flag.String("toolkit", "bin/lxcfs-toolkit", "lxcfs-toolkit")
	rounds := flag.Int("rounds", 50, "number of rounds")
	many := flag.Int("containers", 200, "number of containers for remount")
	flag.Parse()
	var b bench
	if b.toolkit, err = filepath.Abs(*toolkit); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "palisade-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.rootfs = filepath.Join(b.dir, "rootfs")
	if err := ctr.NewRootfs(context.Background(), b.rootfs); err != nil {
		return err
	}
	if b.lxcfs, err = ctr.StartDaemon(context.Background(), *lxcfs, b.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lxcfs.Stop()) }()
	return errors.Join(b.measureStart(*rounds), b.measureHook("runc", *rounds),
		b.measureHook("crun", *rounds), b.measureHeld(*rounds/5), b.measureRemount(*lxcfs, *many))
}

// args returns the arguments of the toolkit with its global options.
func (b *bench) args(args ...string) []string {
	return append([]string{
		"--mountpoint", b.lxcfs.Mountpoint, "--runtime-dir", filepath.Join(b.dir, "run"),
	}, args...)
}

// hooks returns the toolkit's hook.
func (b *bench) hooks() *specs.Hooks {
	args := append([]string{"lxcfs-toolkit"}, b.args("hook", "--strict")...)
	return &specs.Hooks{CreateRuntime: []specs.Hook{{Path: b.toolkit, Args: args}}}
}

// call runs the toolkit and returns its run time.
func (b *bench) call(stdin string, args ...string) (time.Duration, error) {
	cmd := exec.Command(b.toolkit, b.args(args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("lxcfs-toolkit %q: %w: %s", args, err, out)
	}
	return time.Since(start), nil
}

// median returns the median, rounded to 10 µs.
func median(all []time.Duration) time.Duration { return stat.Median(all).Round(10 * time.Microsecond) }

// measureStart compares the start of the toolkit with that of true(1).
func (b *bench) measureStart(rounds int) error {
	var empty, version, check []time.Duration
	for range rounds {
		start := time.Now()
		if err := exec.Command("true").Run(); err != nil {
			return err
		}
		empty = append(empty, time.Since(start))
		for args, took := range map[string]*[]time.Duration{
			"--version": &version, "check-lxcfs": &check,
		} {
			d, err := b.call("", args)
			if err != nil {
				return err
			}
			*took = append(*took, d)
		}
	}
	fmt.Printf("start: true %v, lxcfs-toolkit --version %v, check-lxcfs %v\n",
		median(empty), median(version), median(check))
	return nil
}

// measureHook compares the start of a container without a hook, with true(1), and with the
// toolkit's hook.
func (b *bench) measureHook(runtime string, rounds int) error {
	empty, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	hooks := []*specs.Hooks{nil, {CreateRuntime: []specs.Hook{{Path: empty}}}, b.hooks()}
	took := make([][]time.Duration, len(hooks))
	for range rounds {
		for i, h := range hooks {
			c, err := ctr.Start(context.Background(), b.dir, ctr.Options{
				Runtime: runtime, Rootfs: b.rootfs, ReadOnly: true, Hooks: h,
			})
			if err != nil {
				return err
			}
			took[i] = append(took[i], c.Took)
			if err := c.Remove(); err != nil {
				return err
			}
		}
	}
	without, withTrue, with := median(took[0]), median(took[1]), median(took[2])
	fmt.Printf("%s run: without a hook %v, with the hook %v: %v more; with true(1) %v more\n",
		runtime, without, with, with-without, withTrue-without)
	return nil
}

// held is the number of leases, locks and watches on each file, about ten thousand in total.
const held = 800

// measureHeld compares reads in a container with and without leases, locks and watches that another
// container holds on all of its files.
func (b *bench) measureHeld(rounds int) (err error) {
	var reader, holder *ctr.Container
	for _, c := range []**ctr.Container{&reader, &holder} {
		*c, err = ctr.Start(context.Background(), b.dir, ctr.Options{
			Rootfs: b.rootfs, ReadOnly: true, Hooks: b.hooks(),
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*c).Remove()) }()
	}
	commands := []string{
		"killall load || true",
		fmt.Sprintf(`/bin/load hold %d $(grep lxcfs /proc/mounts | cut -d ' ' -f 2) >/tmp/log &
			until grep held /tmp/log; do sleep 0.1; done`, held),
	}
	var percentiles [2][2][]time.Duration // without and with, median and 99th
	for range rounds {
		for with, command := range commands {
			if _, err := holder.Exec(context.Background(), "sh", "-c", command); err != nil {
				return err
			}
			out, err := reader.Exec(context.Background(), "load", "time", "3000", "/proc/meminfo")
			if err != nil {
				return err
			}
			var p [2]int64
			if _, err := fmt.Sscan(out, &p[0], new(int64), &p[1]); err != nil {
				return fmt.Errorf("parse %q: %w", out, err)
			}
			for i := range p {
				percentiles[with][i] = append(percentiles[with][i], time.Duration(p[i]))
			}
		}
	}
	for i, name := range []string{"median", "99th percentile"} {
		without, with := stat.Median(percentiles[0][i]), stat.Median(percentiles[1][i])
		fmt.Printf("a read beside a container with %d leases, locks and watches on each file: "+
			"%s %v, without %v: %.2f\n", held, name, with, without, float64(with)/float64(without))
	}
	return nil
}

// measureRemount remounts the files of many containers after a crash of lxcfs, and without a
// change.
func (b *bench) measureRemount(lxcfs string, n int) error {
	for range n {
		c, err := ctr.StartNamespaces(b.rootfs)
		if err != nil {
			return err
		}
		defer c.Stop()
		if _, err := b.call(c.State(), "hook", "--strict"); err != nil {
			return err
		}
	}
	var dead, idle, umount, empty []time.Duration
	for range 5 {
		err := errors.Join(b.lxcfs.Crash(), syscall.Unmount(b.lxcfs.Mountpoint, syscall.MNT_DETACH))
		if err != nil {
			return err
		}
		if b.lxcfs, err = ctr.StartDaemon(context.Background(), lxcfs, b.dir); err != nil {
			return err
		}
		for _, step := range []struct {
			took    *[]time.Duration
			command string
		}{{&dead, "remount"}, {&idle, "remount"}, {&umount, "umount"}, {&empty, "remount"}} {
			d, err := b.call("", step.command, "--all")
			if err != nil {
				return err
			}
			*step.took = append(*step.took, d)
		}
	}
	fmt.Printf("%d containers: remount in place of a dead lxcfs %v, remount with nothing to do %v, "+
		"umount %v, remount into none %v\n",
		n, median(dead), median(idle), median(umount), median(empty))
	return nil
}
