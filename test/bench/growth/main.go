// Command growth measures how the costs of this project grow with the work, each as a curve: a
// table of medians with the ratio to the first point. The points of a curve are measured in turn.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"palisade/test/bench/output"
	"palisade/test/ctr"
)

// part is a group of curves over the same numbers.
type part struct {
	name, x, unit string
	// xs are the numbers, the first few of them with -quick, or none if the benchmarks have them.
	xs    []int
	quick int
	// rounds is the number of measurements of each point, 2 with -quick.
	rounds  int
	measure func(b *bench, ctx context.Context, p *part) error
}

// parts are measured in this order.
var parts = []*part{
	{"containers", "containers", "µs", []int{1, 10, 100, 1000, 5000}, 3, 15, (*bench).containers},
	{"depth", "depth", "µs", []int{1, 2, 4, 8, 16}, 3, 21, (*bench).depth},
	{"mounts", "mounts", "µs", []int{10, 100, 1000, 10000}, 2, 5, (*bench).mounts},
	{"policies", "policies", "µs", []int{1, 10, 100, 1000, 10000}, 3, 7, (*bench).policies},
	{"files", "files", "µs", []int{10_000, 100_000, 1_000_000}, 2, 3, (*bench).files},
	{"ranges", "ranges", "µs", []int{1, 100, 1000, 10_000}, 3, 5, (*bench).ranges},
	{"processes", "processes", "µs", []int{10, 100, 1000}, 2, 5, (*bench).processes},
	{"cpus", "CPUs", "µs", nil, 0, 5, (*bench).hostCPUs},
	{"disks", "disks", "µs", nil, 0, 5, (*bench).hostDisks},
	{"threads", "threads", "µs", []int{10, 100, 1000, 10000}, 2, 9, (*bench).threads},
}

// bench holds the flags and the results.
type bench struct {
	lxcfs, toolkit, shift, broker, only string
	quick, large                        bool
	output                              output.Files
	// dir is a temporary directory, load is the path of that program.
	dir, load string
	curves    []*curve
}

func main() {
	b := new(bench)
	flag.StringVar(&b.lxcfs, "lxcfs", "bin/lxcfs", "lxcfs")
	flag.StringVar(&b.toolkit, "toolkit", "bin/lxcfs-toolkit", "lxcfs-toolkit")
	flag.StringVar(&b.shift, "shift", "bin/userns-shift", "userns-shift")
	flag.StringVar(&b.broker, "broker", "bin/authz-broker", "authz-broker")
	flag.BoolVar(&b.quick, "quick", false, "measure few points, in about two minutes")
	flag.BoolVar(&b.large, "large", false, "measure also 10 million files, which need 10 GB of memory")
	flag.StringVar(&b.only, "only", "", "measure only this part: "+partNames())
	b.output.Flags("plots")
	flag.Parse()
	if i := slices.IndexFunc(parts, b.isWanted); i < 0 {
		fmt.Fprintf(os.Stderr, "growth: -only %q is none of %s\n", b.only, partNames())
		os.Exit(2)
	}
	ctr.MainIsolated("growth", func() (int, error) {
		ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM,
			syscall.SIGHUP, syscall.SIGPIPE)
		defer cancel()
		return 0, b.run(ctx)
	})
}

func partNames() (names string) {
	for i, p := range parts {
		if i > 0 {
			names += ", "
		}
		names += p.name
	}
	return names
}

func (b *bench) isWanted(p *part) bool { return b.only == "" || b.only == p.name }

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "palisade-growth-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.output.Prepare(ctx, b.dir); err != nil {
		return err
	}
	if b.load, err = ctr.Program(ctx, b.dir, "load", "palisade/test/load"); err != nil {
		return err
	}
	for _, p := range parts {
		if !b.isWanted(p) {
			continue
		}
		if b.quick {
			p.xs, p.rounds = p.xs[:p.quick], 2
		}
		if err := p.measure(b, ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.print(p)
	}
	return b.output.Write(ctx, b.curves, "-growth")
}
