// Command demo shows, side by side, what the host and a container with one CPU and 256 MiB read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

func main() {
	lxcfs := flag.String("lxcfs", "bin/lxcfs", "the daemon")
	toolkit := flag.String("toolkit", "bin/lxcfs-toolkit", "the program with the hook")
	runtime := flag.String("runtime", "runc", "the container runtime: runc or crun")
	flag.Parse()
	// What it made is to be removed also where the terminal is closed, or the reader of its output has seen enough.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer cancel()
	if err := run(ctx, *lxcfs, *toolkit, *runtime); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, lxcfs, toolkit, runtime string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a container and a mount take root: run sudo make demo")
	}
	dir, err := os.MkdirTemp("", "palisade-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return err
	}
	daemon, err := ctr.StartDaemon(ctx, lxcfs, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.Stop()) }()
	if err := ctr.AddHostProgram(ctx, rootfs, "free", "uptime"); err != nil {
		return err
	}
	hook := specs.Hook{Args: []string{"lxcfs-toolkit", "--mountpoint", daemon.Mountpoint, "--runtime-dir", dir, "hook", "--strict"}}
	if hook.Path, err = filepath.Abs(toolkit); err != nil {
		return err
	}
	c, err := ctr.Start(ctx, dir, ctr.Options{
		Runtime: runtime, Rootfs: rootfs, Memory: 256 << 20, Quota: 100000, CgroupNamespace: true,
		Hooks: &specs.Hooks{CreateRuntime: []specs.Hook{hook}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	if err := compare(ctx, c); err != nil {
		return err
	}
	for _, args := range [][]string{{"free", "-m"}, {"uptime"}, {"grep", "-c", "^processor", "/proc/cpuinfo"}, {"top", "-bn1"}} {
		fmt.Printf("\ncontainer# %s\n", strings.Join(args, " "))
		out, err := c.Exec(ctx, args...)
		if err != nil {
			return err
		}
		fmt.Print(out)
	}
	return nil
}
