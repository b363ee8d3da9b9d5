// Command calls compares the times of system calls in containers: of the kernel (native), with a
// filter that allows all (filter), answered by lxcfs (ours), and by a minimal agent that reads the
// values from files of lxcfs, as LXD does (agent). It also measures starts of containers with all
// views and without.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/test/bench/stat"
	"palisade/test/ctr"
)

func main() {
	ctr.MainIsolated("calls", func() (int, error) { return 0, parseAndRun() })
}

func parseAndRun() error {
	lxcfs := flag.String("lxcfs", "bin/lxcfs", "this lxcfs")
	toolkit := flag.String("toolkit", "bin/lxcfs-toolkit", "lxcfs-toolkit")
	rounds := flag.Int("rounds", 9, "number of runs of each kind")
	flag.Parse()
	program, err := filepath.Abs(*toolkit)
	if err != nil {
		return err
	}
	return run(context.Background(), *lxcfs, program, *rounds)
}

// calls are measured with their number of repetitions in a run.
var calls = []struct{ name, repetitions string }{
	{"sysinfo", "3000"}, {"affinity", "3000"}, {"getppid", "3000"},
}

func run(ctx context.Context, lxcfs, toolkit string, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "calls-") // short: the path of a socket has at most 107 bytes
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := ctr.StartDaemon(ctx, lxcfs, dir, "--runtime-dir", probe.DefaultRuntimeDir) // where the wrapper looks
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	agent := filepath.Join(dir, "agent.sock")
	if err := startAgent(agent, d.Mountpoint); err != nil {
		return err
	}
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return err
	}
	base := ctr.Options{Rootfs: rootfs, ReadOnly: true, Memory: 256 << 20, Quota: 100000}
	ours := filepath.Join(probe.RuntimeDir(probe.DefaultRuntimeDir, d.Mountpoint), probe.CallsSocket)
	kinds := []struct {
		name    string
		seccomp *specs.LinuxSeccomp
	}{
		{"native", nil}, {"filter", filter("")}, {"ours", filter(ours)}, {"agent", filter(agent)},
	}
	var containers []*ctr.Container
	defer func() {
		for _, c := range containers {
			err = errors.Join(err, c.Remove())
		}
	}()
	for _, kind := range kinds {
		o := base
		o.Seccomp = kind.seccomp
		c, err := ctr.Start(ctx, dir, o)
		if err != nil {
			return err
		}
		containers = append(containers, c)
	}
	fmt.Println("Times in µs, medians of the runs.")
	for _, call := range calls {
		p50, p90 := make([][]float64, len(kinds)), make([][]float64, len(kinds))
		for range rounds {
			for i, c := range containers {
				out, err := c.Exec(ctx, "load", "calltime", call.repetitions, call.name)
				if err != nil {
					return err
				}
				var a, b float64
				if _, err := fmt.Sscan(out, &a, &b); err != nil {
					return fmt.Errorf("load calltime prints %q: %w", out, err)
				}
				p50[i], p90[i] = append(p50[i], a/1000), append(p90[i], b/1000)
			}
		}
		for i, kind := range kinds {
			fmt.Printf("%-8s %-7s p50 %8.3f p90 %8.3f\n", call.name, kind.name, stat.Median(p50[i]), stat.Median(p90[i]))
		}
	}
	for _, name := range []string{"runc", "crun"} {
		if err := measureStarts(ctx, dir, toolkit, d, base, name, 3*rounds); err != nil {
			return err
		}
	}
	return nil
}

// measureStarts compares starts of containers by the wrapper of a runtime with no view and with all.
func measureStarts(
	ctx context.Context, dir, toolkit string, d *ctr.Daemon, o ctr.Options, name string, rounds int,
) (err error) {
	if o.Runtime, err = ctr.NewRuntime(ctx, name); err != nil {
		return err
	}
	times := map[string][]float64{}
	for range rounds {
		for _, list := range []string{"none", "all"} {
			o.Wrapper = []string{toolkit, "--mountpoint", d.Mountpoint, "runtime",
				"--strict", "--views", list, "--runtime", o.Runtime, "--"}
			c, err := ctr.Start(ctx, dir, o)
			if err != nil {
				return err
			}
			times[list] = append(times[list], c.Took.Seconds()*1000)
			if err := c.Remove(); err != nil {
				return err
			}
		}
	}
	none, all := stat.Median(times["none"]), stat.Median(times["all"])
	fmt.Printf("%s run by the wrapper: %.1f ms without views, %.1f ms with all: %+.1f ms\n", name, none, all, all-none)
	return nil
}

// filter returns a filter that passes calls on to a socket, or without one allows all.
func filter(socket string) *specs.LinuxSeccomp {
	action := specs.ActNotify
	if socket == "" {
		action = specs.ActLog // another action than the default: libseccomp drops the rule otherwise
	}
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: socket}
	names := []string{"sysinfo", "sched_getaffinity"}
	if socket == "" {
		names = []string{"swapoff"}
	}
	s.Syscalls = []specs.LinuxSyscall{{Names: names, Action: action}}
	return s
}

// startAgent answers sysinfo(2) of containers whose filters are sent to the socket.
func startAgent(socket, lxcfs string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	proc, err := sys.OpenDir("/proc")
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, files, err := sys.ReceiveFiles(conn.(*net.UnixConn), make([]byte, 1<<16))
			for _, f := range files {
				if err == nil {
					go answer(f, proc, lxcfs)
				}
			}
			conn.Close()
		}
	}()
	return nil
}

// answer answers sysinfo(2) with the totalram, uptime and load of files of lxcfs.
func answer(f, proc sys.File, lxcfs string) {
	for {
		var call sys.NotifiedCall
		if f.ReceiveCall(&call) != nil {
			if f.HasHungUp() {
				return
			}
			continue
		}
		if call.Args[1] != 0 { // not sysinfo
			f.Continue(&call)
			continue
		}
		for _, name := range []string{"meminfo", "uptime", "loadavg"} {
			text, err := os.ReadFile(filepath.Join(lxcfs, "proc", name))
			if err != nil {
				f.Continue(&call)
				break
			}
			for field := range strings.FieldsSeq(string(text)) {
				strconv.ParseUint(field, 10, 64) // the work of an agent; its result does not matter here
			}
		}
		mem, err := sys.OpenMemory(proc, call.TID)
		if err == nil && f.IsWaiting(&call) {
			mem.WriteAt(make([]byte, 112), call.Args[0])
			f.Answer(&call, 0)
		}
		mem.Close()
	}
}
