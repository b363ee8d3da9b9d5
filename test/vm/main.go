// Command vm runs tests in a virtual machine with Debian's kernel and cgroup v2 (or v1, or both),
// which this machine may lack. It copies the output of the test binaries to stdout, and exits with
// 0 only if all of them have passed.
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
	"time"
)

// options holds the values of the flags.
type options struct {
	mode, run, toolkit, userns, remap, clients, lxc, nri, packages, cache, e2e string
	bench                                                                      string
	memory, cpus, nodes                                                        int
	quick                                                                      bool
}

// quick has the tests of each suite that depend most on cgroup v2 or an old kernel.
var quick = map[string]string{
	"run":      "^Test(V2|EveryFile|Nodes|Nested|Update|MemoryHog)",
	"toolkit":  "^Test(Hook|NodeDirectory|OldKernels)$",
	"remap":    fastRemap,
	"userns":   fastUserns,
	"lxc":      "^Test(Layouts|Systemd)$",
	"clients":  "",
	"nri":      "",
	"packages": "",
}

// setQuick sets the flags that the command line does not set to the values of quick.
func setQuick() error {
	isSet := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { isSet[f.Name] = true })
	for name, value := range quick {
		if isSet[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// fast matches the integration tests that are worth their time with an emulated CPU.
const fast = "^Test(V2|EveryFile|Node|Vmstat|Readers$|InitMoves|SharedPID|HostPID|Update|MemoryHog|Disks|WorkerPrivileges|WorkerHangs|KeptMount|ContainerFigures|Nested|Sizes|SizeSurvives|Modes|Sysinfo|Affinity|CallsOf32Bit|ReusedPID|StuckCalls)"

// fastToolkit matches those of lxcfs-toolkit.
const fastToolkit = "^Test(Hook|NodeDirectory|HookLeavesUsersMounts|RemountIsAtomic|KilledRemount|Nested|OldKernels|TopOnce|TimeView)$"

// fastUserns matches those of userns-shift.
const fastUserns = "^Test(Everything|Twice|CapabilitiesWork|MountsInside|ReadOnly|Overlay|OldKernels|SwapRace|LinkedOutside|AtOnce|Mount|MountOnOldKernels)$"

// fastRemap matches those of its hook and wrapper. Linux 6.1 cannot idmap tmpfs, which holds the
// guest's files; those with layers have a disk.
const fastRemap = "^Test(Hookspec|HalfShifted|Layers|LayersUpper|LayersShared|LayersCapabilities|LayersRefused|LayersRelative)$"

// fastLXC matches those with LXC, whose cgroups differ on v2.
const fastLXC = "^Test(Layouts|Systemd|UserNamespaces)$"

// fastNRI matches the one of palisade-nri whose values depend most on the version of cgroups.
const fastNRI = "^TestFirstProcess$"

func main() {
	var o options
	flag.StringVar(&o.mode, "mode", "v2", "cgroups of the guest: v2, hybrid or v1")
	flag.StringVar(&o.run, "run", fast, "integration tests to run")
	flag.StringVar(&o.toolkit, "toolkit", fastToolkit, "tests of lxcfs-toolkit to run")
	flag.StringVar(&o.userns, "userns", fastUserns, "tests of userns-shift to run")
	flag.StringVar(&o.remap, "remap", fastRemap, "tests of its hook and wrapper to run")
	flag.StringVar(&o.clients, "clients", "^Test(Clients|TimeView|CallViews|TimeViewSystemd)$", "tests of programs in containers to run")
	flag.StringVar(&o.lxc, "lxc", fastLXC, "tests with LXC to run")
	flag.StringVar(&o.nri, "nri", fastNRI, "tests of palisade-nri with containerd to run")
	flag.StringVar(&o.packages, "packages", "./internal/lxcfs/container,./internal/linux/cgroup,./internal/lxcfs/fusedev,./internal/lxcfs",
		"packages whose unit tests to run")
	flag.StringVar(&o.cache, "cache", ".cache/vm", "directory that caches the kernel")
	flag.IntVar(&o.memory, "memory", 2048, "memory of the guest in MiB")
	flag.IntVar(&o.cpus, "cpus", 4, "number of CPUs of the guest")
	flag.IntVar(&o.nodes, "nodes", 2, "number of NUMA nodes over which the guest's memory and CPUs are divided")
	flag.StringVar(&o.e2e, "e2e", "", "directory with packages (test/e2e/packages.sh): run the end-to-end test, too")
	flag.StringVar(&o.bench, "bench", "", "flags of test/bench, such as '-only reads': run it, too, with Debian's newest lxcfs as a rival")
	timeout := flag.Duration("timeout", 40*time.Minute, "time after which the guest is stopped")
	flag.BoolVar(&o.quick, "quick", false, "run only the tests that depend most on cgroup v2 or an old kernel")
	flag.Parse()
	if o.quick {
		if err := setQuick(); err != nil {
			fmt.Fprintln(os.Stderr, "vm:", err)
			os.Exit(1)
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) (err error) {
	if o.mode != "v2" && o.mode != "hybrid" && o.mode != "v1" {
		return fmt.Errorf("-mode %q is none of v2, hybrid, v1", o.mode)
	}
	if o.bench != "" && o.mode != "v2" {
		return fmt.Errorf("-mode %s with -bench: want v2, lxcfs 7.0 does not support others", o.mode)
	}
	if o.nodes < 1 || o.nodes > o.cpus {
		return fmt.Errorf("-nodes %d: want 1 to %d, the number of CPUs", o.nodes, o.cpus)
	}
	kernel, err := fetchKernel(ctx, o.cache)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "palisade-vm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g := guest{root: filepath.Join(dir, "root"), kernel: kernel, mode: o.mode}
	var tests []string
	for _, pkg := range strings.Split(o.packages, ",") {
		if pkg == "" {
			continue
		}
		if err := g.addTest(ctx, pkg, ""); err != nil {
			return err
		}
		tests = append(tests, filepath.Base(pkg))
	}
	for _, suite := range []struct{ name, run string }{
		{"integration", o.run}, {"toolkit", o.toolkit}, {"userns", o.userns}, {"remap", o.remap},
	} {
		if suite.run == "" {
			continue
		}
		if err := g.addTest(ctx, "./test/"+suite.name, suite.run); err != nil {
			return err
		}
		tests = append(tests, suite.name)
	}
	if o.clients != "" {
		if err := g.addClients(ctx, filepath.Join(dir, "clients.img"), o.clients); err != nil {
			return err
		}
		tests = append(tests, "clients")
	}
	if o.lxc != "" {
		if err := g.addLXC(ctx, filepath.Join(dir, "lxc.img"), o.lxc); err != nil {
			return err
		}
		tests = append(tests, "lxc")
	}
	if o.nri != "" {
		err := g.addNRI(ctx, filepath.Join(dir, "nri.img"), filepath.Join(dir, "engines"), o.nri)
		if err != nil {
			return err
		}
		tests = append(tests, "nri")
	}
	if o.bench != "" {
		if err := g.addBench(ctx, o.cache, o.bench); err != nil {
			return err
		}
		tests = append(tests, "bench")
	}
	if o.e2e != "" {
		if err := g.addStory(ctx, filepath.Join(dir, "usr.img"), o.e2e); err != nil {
			return err
		}
		tests = append(tests, "e2e")
	}
	initrd := filepath.Join(dir, "initrd")
	if err := g.pack(ctx, initrd); err != nil {
		return err
	}
	m := machine{
		kernel: kernel.image, initrd: initrd, disks: g.disks,
		memory: o.memory, cpus: o.cpus, nodes: o.nodes, counted: o.bench != "",
	}
	return boot(ctx, m, tests)
}
