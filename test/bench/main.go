// Command bench compares the time of reads through this lxcfs, through Debian's lxcfs, of the
// host's file (bare), and through a FUSE server with constant content (floor). All are mounted in
// one container, where they are read in turn. It prints medians and their ratios.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
	"palisade/test/ctr"
)

// files are served by both daemons.
var files = []string{"meminfo", "stat", "cpuinfo", "uptime", "swaps", "diskstats", "loadavg"}

// dirs are the directories of the files in the container.
var dirs = []string{"/bench/ours", "/bench/rival", "/bench/bare", "/bench/floor"}

func main() {
	lxcfs := flag.String("lxcfs", "bin/lxcfs", "this lxcfs")
	rival := flag.String("rival", "/usr/bin/lxcfs", "Debian's lxcfs")
	rounds := flag.Int("rounds", 5000, "number of reads of each file")
	cold := flag.Duration("cold", 0, "measure only reads after pauses, so long for each cell")
	minimal := flag.String("serve-minimal", "", "serve constant content on this directory, instead")
	flag.Parse()
	if *minimal != "" {
		if err := serveMinimal(*minimal); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM,
		syscall.SIGHUP, syscall.SIGPIPE)
	defer cancel()
	if err := run(ctx, *lxcfs, *rival, *rounds, *cold); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(
	ctx context.Context, lxcfs, rival string, rounds int, cold time.Duration,
) (err error) {
	dir, err := os.MkdirTemp("", "palisade-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return err
	}
	ours, err := ctr.StartDaemon(ctx, lxcfs, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Stop()) }()
	theirs, err := ctr.StartRival(ctx, rival, dir)
	if err != nil {
		return fmt.Errorf("start Debian's lxcfs: %w (make deps installs it)", err)
	}
	defer theirs.Stop() // its exit code is 1
	bind := func(source, destination string) specs.Mount {
		return specs.Mount{
			Destination: destination, Type: "bind", Source: source,
			Options: []string{"rbind", "rslave"},
		}
	}
	floor := filepath.Join(dir, "floor")
	if err := mountFloor(floor); err != nil {
		return err
	}
	defer sys.Unmount(floor, sys.UnmountDetach)
	minimal := filepath.Join(dir, "minimal")
	stopMinimal, err := startMinimal(minimal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopMinimal()) }()
	var containers [2]*ctr.Container
	for i, quota := range []int64{100000, 0} { // measureNeighbour uses the second
		containers[i], err = ctr.Start(ctx, dir, ctr.Options{
			Rootfs: rootfs, Memory: 256 << 20, Quota: quota, CgroupNamespace: true,
			Mounts: []specs.Mount{
				bind(ours.Mountpoint+"/proc", dirs[0]), bind(theirs.Mountpoint+"/proc", dirs[1]),
				bind("/proc", dirs[2]), bind(floor, dirs[3]),
				bind(minimal, "/bench/minimal"),
			},
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, containers[i].Remove()) }()
	}
	c := containers[0]
	if cold > 0 {
		return measureCold(ctx, c, cold)
	}
	version, _ := exec.CommandContext(ctx, rival, "--version").CombinedOutput() // for the heading only
	fmt.Printf("open, read to the end, close; %d rounds in turn; median in µs; rival: lxcfs %s",
		rounds, strings.Trim(string(version), "\n"))
	fmt.Printf("\n%-10s %9s %9s %9s %9s %13s %13s\n", "file", "ours", "rival", "bare", "floor",
		"rival : ours", "ours : floor")
	for _, file := range files {
		m, err := measure(ctx, c, file, rounds)
		if err != nil {
			return err
		}
		fmt.Printf("%-10s %9.1f %9.1f %9.1f %9.1f %13.2f %13.2f\n", file,
			m[0]/1e3, m[1]/1e3, m[2]/1e3, m[3]/1e3, m[1]/m[0], m[0]/m[3])
	}
	if err := compareRates(ctx, c, ours, theirs); err != nil {
		return err
	}
	if err := measureNeighbour(ctx, c, containers[1]); err != nil {
		return err
	}
	return measureCrowd(ctx, filepath.Join(rootfs, "bin/load"), ours, floor)
}

// measure reads a file in each directory in turn, and returns the medians in nanoseconds.
func measure(ctx context.Context, c *ctr.Container, file string, rounds int) ([]float64, error) {
	args := []string{"load", "time", strconv.Itoa(rounds)}
	for _, dir := range dirs {
		args = append(args, dir+"/"+file)
	}
	out, err := c.Exec(ctx, args...)
	if err != nil {
		return nil, err
	}
	return parseTimes(out, len(dirs))
}

// parseTimes returns the medians in the output of "load time" with n files, in nanoseconds.
func parseTimes(out string, n int) (medians []float64, err error) {
	for line := range strings.Lines(out) {
		first, _, _ := strings.Cut(line, " ")
		nanos, err := strconv.ParseFloat(first, 64)
		if err != nil {
			return nil, fmt.Errorf("parse %q: %w", line, err)
		}
		medians = append(medians, nanos)
	}
	if len(medians) != n {
		return nil, fmt.Errorf("parse %q: got %d lines, want %d", out, len(medians), n)
	}
	return medians, nil
}
