// Command bench compares the times of reads through this lxcfs (ours), through one or more C
// versions of lxcfs (rival, rival2), from a FUSE server with constant content (minimal), and of the
// host's file (bare). Containers read from them in short runs, in turn. It prints tables of the
// medians of the runs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// files are served by all servers.
var files = []string{"meminfo", "stat", "cpuinfo", "uptime", "swaps", "diskstats", "loadavg"}

// few are the files of cells that are not measured with all.
var few = []string{"meminfo", "uptime"}

// group describes cells that differ only in the file.
type group struct {
	cell
	files []string
	// bare means that the host's file is measured, too.
	bare bool
	// runs is the number of runs of each cell and server, quickRuns that with -quick, and reads the
	// number of reads of each thread in a run.
	runs, quickRuns, reads int
}

const ms = time.Millisecond

// groups are measured in this order.
var groups = []group{
	{cell{Part: "reads", Readers: 1}, files, true, 21, 3, 300},
	{cell{Part: "pauses", Readers: 1, Pause: ms}, few, false, 11, 0, 50},
	{cell{Part: "pauses", Readers: 1, Pause: 20 * ms}, files, false, 9, 1, 10},
	{cell{Part: "bursts", Readers: 1, Pause: 20 * ms, Burst: 4}, few, false, 9, 0, 40},
	{cell{Part: "bursts", Readers: 1, Pause: 20 * ms, Burst: 10}, few, false, 9, 0, 100},
	{cell{Part: "pauses", Readers: 1, Pause: 200 * ms}, files, false, 5, 1, 5},
	{cell{Part: "pauses", Readers: 1, Pause: 1000 * ms}, files, false, 3, 0, 5},
	{cell{Part: "readers", Readers: 1}, few[:1], false, 15, 2, 300},
	{cell{Part: "readers", Readers: 1, Pinned: true}, few[:1], false, 15, 2, 300},
	{cell{Part: "readers", Readers: 2}, few[:1], false, 15, 2, 300},
	{cell{Part: "readers", Readers: 2, Pinned: true}, few[:1], false, 15, 2, 300},
	{cell{Part: "readers", Readers: 4}, few[:1], false, 15, 2, 300},
	{cell{Part: "readers", Readers: 4, Pinned: true}, few[:1], false, 15, 2, 300},
	{cell{Part: "cat", Readers: 1, Cat: true}, few, true, 9, 2, 30},
	{cell{Part: "neighbour", Readers: 1}, few[:1], true, 5, 1, 300},
	{cell{Part: "neighbour", Readers: 1, Beside: 64}, few[:1], true, 5, 1, 300},
	{cell{Part: "neighbour", Readers: 1, Beside: 1000}, few[:1], true, 5, 0, 50},
}

// bench holds the flags, the servers, the containers that read from them, and the results.
type bench struct {
	lxcfs, only, json, svg string
	rivals                 []string
	quick                  bool
	// load and plot are the paths of these programs.
	load, plot string
	servers    []*server
	// limited has a quota of one CPU, unlimited none.
	limited, unlimited *ctr.Container
	cells              []cell
}

func main() {
	b := new(bench)
	flag.StringVar(&b.lxcfs, "lxcfs", "bin/lxcfs", "this lxcfs")
	rivals := flag.String("rival", "/usr/bin/lxcfs", "Debian's lxcfs, or several versions: PATH[,PATH]...")
	flag.BoolVar(&b.quick, "quick", false, "measure few cells with few runs, in less than a minute")
	flag.StringVar(&b.only, "only", "",
		"measure only this part: reads, pauses, bursts, readers, cat, neighbour or crowd")
	flag.StringVar(&b.json, "json", "", "write the results to this file")
	flag.StringVar(&b.svg, "svg", "", "write a plot of reads and pauses to this file")
	minimal := flag.String("serve-minimal", "", "serve constant content on this directory, instead")
	flag.Parse()
	b.rivals = strings.Split(*rivals, ",")
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM,
		syscall.SIGHUP, syscall.SIGPIPE)
	defer cancel()
	var err error
	if *minimal != "" {
		err = serveMinimal(*minimal)
	} else {
		err = b.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "palisade-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if b.svg != "" { // an error after the measurements would lose them
		b.plot = filepath.Join(dir, "plot")
		cmd := exec.CommandContext(ctx, "go", "-C", "test/bench/plot", "build", "-o", b.plot, ".")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build test/bench/plot: %w: %s", err, out)
		}
	}
	stop, err := b.startServers(ctx, dir)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return err
	}
	b.load = filepath.Join(rootfs, "bin/load")
	options := ctr.Options{Rootfs: rootfs, Memory: 256 << 20, CgroupNamespace: true}
	for _, s := range b.served() {
		options.Mounts = append(options.Mounts, specs.Mount{
			Destination: s.dir, Type: "bind", Source: s.dir, Options: []string{"rbind", "rslave"},
		})
	}
	if b.unlimited, err = ctr.Start(ctx, dir, options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.unlimited.Remove()) }()
	options.Quota = 100000
	if b.limited, err = ctr.Start(ctx, dir, options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.limited.Remove()) }()

	fmt.Println("Times in µs.")
	for i, path := range b.rivals {
		version, _ := exec.CommandContext(ctx, path, "--version").CombinedOutput() // only printed
		fmt.Printf("%s: lxcfs %s\n", rivalName(i), strings.Trim(string(version), "\"\n"))
	}
	if err := b.measureGroups(ctx); err != nil {
		return err
	}
	if b.only == "" || b.only == "crowd" {
		if err := b.measureCrowd(ctx); err != nil {
			return err
		}
	}
	if len(b.cells) == 0 {
		return fmt.Errorf("no part %q", b.only)
	}
	return b.write(ctx)
}

// measureGroups measures and prints the groups.
func (b *bench) measureGroups(ctx context.Context) error {
	var alone []cell
	for _, g := range groups {
		if b.only != "" && g.Part != b.only || b.quick && g.quickRuns == 0 {
			continue
		}
		c := b.limited
		if g.Readers > 1 {
			c = b.unlimited
		}
		cells, err := b.measure(ctx, &g, func(args ...string) (string, error) {
			return c.Exec(ctx, append([]string{"load"}, args...)...)
		})
		if err != nil {
			return err
		}
		if g.Beside > 0 {
			b.print(cells, alone)
		} else {
			b.print(cells, nil)
			alone = cells // the last of these are those of the part neighbour
		}
	}
	return nil
}

// write writes the results and their plot to the files of the flags.
func (b *bench) write(ctx context.Context) error {
	text, err := json.MarshalIndent(b.cells, "", "\t")
	if err != nil {
		return err
	}
	if b.json != "" {
		if err := os.WriteFile(b.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if b.svg == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, b.plot)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	image, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return os.WriteFile(b.svg, image, 0o644)
}
