package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// hostCPUs and hostDisks run benchmarks of package lxcfs, which reads from generated files: few
// machines have 512 CPUs or 200 disks. The times are those without FUSE.
func (b *bench) hostCPUs(ctx context.Context, p *part) error {
	return b.benchmark(ctx, p, "BenchmarkHostCPUs")
}

func (b *bench) hostDisks(ctx context.Context, p *part) error {
	return b.benchmark(ctx, p, "BenchmarkHostDisks")
}

// benchmark runs the benchmarks NAME/TITLE=NUMBER, each once in a round.
func (b *bench) benchmark(ctx context.Context, p *part, name string) error {
	program := filepath.Join(b.dir, "lxcfs.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "palisade/internal/lxcfs")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build benchmarks: %w: %s", err, out)
	}
	for range p.rounds {
		cmd := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "^"+name+"$",
			"-test.benchtime", "50ms", "-test.cpu", "1")
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != "ns/op" {
				continue
			}
			title, number, _ := strings.Cut(strings.TrimPrefix(fields[0], name+"/"), "=")
			x, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("parse %q: %w", lines.Text(), err)
			}
			nanos, err := strconv.ParseFloat(fields[2], 64)
			if err != nil {
				return fmt.Errorf("parse %q: %w", lines.Text(), err)
			}
			b.add(p, strings.ReplaceAll(title, "_", " "), x, nanos/1e3, 0)
		}
	}
	return nil
}
