package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// manyFiles is measured once, if at all.
const manyFiles = 10_000_000

// files shifts trees of empty files on a tmpfs. The costs are the CPU times for one file.
func (b *bench) files(ctx context.Context, p *part) (err error) {
	disk := filepath.Join(b.dir, "tmpfs")
	if err := os.Mkdir(disk, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1g,nr_inodes=0"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	defer func() { err = errors.Join(err, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	xs := p.xs
	if b.large {
		xs = append(xs, manyFiles)
	}
	for _, x := range xs {
		if err := createFiles(filepath.Join(disk, strconv.Itoa(x)), x); err != nil {
			return err
		}
	}
	for round := range p.rounds {
		for _, x := range xs {
			if x == manyFiles && round > 0 {
				continue
			}
			root := filepath.Join(disk, strconv.Itoa(x))
			for _, line := range [][]string{
				{"shift", "--user-remap", "100000:100000:65535", root}, {"verify", root}, {"unshift", root},
			} {
				cmd := exec.CommandContext(ctx, b.shift, line...)
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("userns-shift %s: %w: %s", line[0], err, out)
				}
				used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				b.add(p, line[0]+", CPU time for a file", x, used.Seconds()*1e6/float64(x), 0)
				if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
					b.addIn("MiB", p, line[0]+", memory", x, float64(usage.Maxrss)/1024, 0)
				}
			}
		}
	}
	return nil
}

// filesPerDir is the number of files in a directory.
const filesPerDir = 1000

// createFiles creates a tree with the given number of files, including directories.
func createFiles(root string, files int) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for left, dirs := files-1, 0; left > 0; dirs++ {
		dir := filepath.Join(root, strconv.Itoa(dirs))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		left--
		for i := 0; i < filesPerDir && left > 0; i++ {
			file := filepath.Join(dir, strconv.Itoa(i))
			if err := syscall.Mknod(file, syscall.S_IFREG|0o644, 0); err != nil {
				return err
			}
			left--
		}
	}
	return nil
}
