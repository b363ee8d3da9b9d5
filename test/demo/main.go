// Command demo shows side by side what two containers with one CPU and 256 MiB read from /proc,
// without and with lxcfs, and that root in the second, which userns-shift starts, is an
// unprivileged user of the host.
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
	lxcfs := flag.String("lxcfs", "bin/lxcfs", "path of lxcfs")
	toolkit := flag.String("toolkit", "bin/lxcfs-toolkit", "path of lxcfs-toolkit")
	shift := flag.String("shift", "bin/userns-shift", "path of userns-shift")
	runtime := flag.String("runtime", "runc", "container runtime: runc or crun")
	flag.Parse()
	// Clean up also when the terminal (SIGHUP) or the reader of the output (SIGPIPE) has gone.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer cancel()
	if err := run(ctx, *lxcfs, *toolkit, *shift, *runtime); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, lxcfs, toolkit, shift, runtime string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers and mounts need root: run sudo make demo")
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
	wrapper, err := wrap(dir, shift, runtime)
	if err != nil {
		return err
	}
	options := ctr.Options{Runtime: runtime, Rootfs: rootfs, Memory: 256 << 20, Quota: 100000, CgroupNamespace: true}
	without, err := ctr.Start(ctx, dir, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, without.Remove()) }()
	options.Runtime, options.Hooks = wrapper, &specs.Hooks{CreateRuntime: []specs.Hook{hook}}
	c, err := ctr.Start(ctx, dir, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	if err := compare(ctx, without, c); err != nil {
		return err
	}
	return show(ctx, c)
}

// show prints the output of programs in a container.
func show(ctx context.Context, c *ctr.Container) error {
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

// wrap creates a runtime wrapper that gives containers a user namespace: a link to userns-shift.
func wrap(dir, shift, runtime string) (wrapper string, err error) {
	if shift, err = filepath.Abs(shift); err != nil {
		return "", err
	}
	wrapper = filepath.Join(dir, "userns-shift-"+runtime)
	return wrapper, errors.Join(os.Symlink(shift, wrapper), os.Setenv("USERNS_SHIFT_REMAP", "100000:100000:65535"))
}
