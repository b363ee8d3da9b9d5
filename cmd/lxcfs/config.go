package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/metrics"
	"palisade/internal/inject/probe"
)

// config holds the command line.
type config struct {
	mountpoint string
	pidFile    string
	runtimeDir string
	rootDisk   string
	logLevel   string
	logFormat  string

	disableSwap, disableZswap, disableCFS, disableLoadavg, debug bool
	// keepMount leaves the mount to the next process, which gets the files from the service manager.
	keepMount   bool
	fuseOptions cli.StringSlice
	// mountOptions are those of fuseOptions that are passed to the kernel.
	mountOptions []string
	metrics      metrics.Options

	// program is the path of this program, set by run.
	program string
	log     *slog.Logger
}

// noEffect lists the options of the C version of lxcfs that are accepted without effect, and why.
var noEffect = []struct {
	name    string
	aliases []string
	why     string
}{
	{"foreground", []string{"f"}, "it always stays in the foreground"},
	{"single-threaded", []string{"s"}, "requests are always served by several threads"},
	{"enable-loadavg", []string{"l"}, "it is on unless --disable-loadavg is given"},
	{"enable-cfs", nil, "it is on unless --disable-cfs is given"},
	{"enable-pidfd", nil, "it is always on where the kernel has it"},
	{"enable-cgroup", nil, "cgroups are shown by cgroup namespaces"},
	{"enable-psi-poll", nil, "it is always on where the kernel has it"},
}

// Values of --root-disk-name.
const (
	rootDiskSda  = "sda"
	rootDiskHost = "host"
)

// abbreviable lists the long options of the C version, which getopt_long(3) reads there. Other
// options must be written out, so that a new one makes no abbreviation ambiguous.
var abbreviable = [][]string{
	{"debug"}, {"disable-swap"}, {"disable-zswap"}, {"foreground"}, {"help"}, {"pidfile"},
	{"runtime-dir"}, {"version"},
	{"enable-loadavg", "enable-cfs", "enable-pidfd", "enable-cgroup", "enable-psi-poll"},
}

func (c *config) flags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{
			Name: "pidfile", Aliases: []string{"p"}, Value: "/run/lxcfs.pid",
			Destination: &c.pidFile, Usage: "write the pid to `FILE`, and lock it",
		},
		&cli.BoolFlag{Name: "disable-swap", Aliases: []string{"u"}, Destination: &c.disableSwap,
			Usage: "show containers no swap"},
		&cli.BoolFlag{Name: "disable-zswap", Aliases: []string{"z"}, Destination: &c.disableZswap,
			Usage: "hide Zswap and Zswapped from the meminfo of containers"},
		&cli.BoolFlag{Name: "disable-cfs", Destination: &c.disableCFS,
			Usage: "show containers all CPUs of their cpuset, whatever the CPU quota"},
		&cli.BoolFlag{Name: "disable-loadavg", Destination: &c.disableLoadavg,
			Usage: "show containers the load averages of the host"},
		&cli.StringFlag{Name: "root-disk-name", Value: rootDiskSda, Destination: &c.rootDisk,
			Usage: "`NAME` of the disk that holds a container's root: sda, or host for the host's name"},
		&cli.StringSliceFlag{Name: "o", Destination: &c.fuseOptions,
			Usage: "`OPTIONS` of the mount, separated by commas: max_read=N; " +
				"those of the C version have no effect"},
		&cli.StringFlag{Name: "runtime-dir", Value: probe.DefaultRuntimeDir, Destination: &c.runtimeDir,
			Usage: "keep locks, and state for the next process, in `DIR`"},
		&cli.BoolFlag{Name: "keep-mount", Destination: &c.keepMount,
			Usage: "leave the mount to the next process: the service manager keeps its files " +
				"(FileDescriptorStoreMax of systemd)"},
		&cli.StringFlag{Name: "log-level", Value: "info", Destination: &c.logLevel,
			Usage: "lowest `LEVEL` to log: debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", Value: "text", Destination: &c.logFormat,
			Usage: "log as `FORMAT`: text or json"},
		&cli.BoolFlag{Name: "debug", Aliases: []string{"d"}, Destination: &c.debug,
			Usage: "same as --log-level debug"},
	}
	flags = append(flags, c.metrics.Flags()...)
	for _, option := range noEffect {
		flags = append(flags, &cli.BoolFlag{Name: option.name, Aliases: option.aliases,
			Usage: "accepted without effect: " + option.why})
	}
	return flags
}

// complete checks the command line. All its errors are usage errors.
func (c *config) complete(ctx *cli.Context) error {
	switch ctx.NArg() {
	case 0:
		return errors.New("missing MOUNTPOINT (see lxcfs --help)")
	case 1:
	default:
		return fmt.Errorf("argument %q is one too many: only MOUNTPOINT is expected", ctx.Args().Get(1))
	}
	if err := c.setUpLog(); err != nil {
		return err
	}
	if c.rootDisk != rootDiskSda && c.rootDisk != rootDiskHost {
		return fmt.Errorf("--root-disk-name %q: want sda or host", c.rootDisk)
	}
	if err := c.setMountOptions(); err != nil {
		return err
	}
	if err := c.metrics.Validate(ctx.IsSet); err != nil {
		return err
	}
	mountpoint, err := filepath.Abs(ctx.Args().First())
	if err != nil {
		return err
	}
	// The path in the mount table. The mount point itself is not accessed: a dead mount may be on it.
	dir, err := filepath.EvalSymlinks(filepath.Dir(mountpoint))
	if err != nil {
		return fmt.Errorf("use MOUNTPOINT: %w", err)
	}
	c.mountpoint = filepath.Join(dir, filepath.Base(mountpoint))
	return nil
}

func (c *config) setUpLog() error {
	var level slog.Level
	err := level.UnmarshalText([]byte(c.logLevel))
	if err != nil || strings.ContainsAny(c.logLevel, "+-") {
		return fmt.Errorf("--log-level %q is none of debug, info, warn, error", c.logLevel)
	}
	if c.debug {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.logFormat {
	case "text":
		c.log = slog.New(slog.NewTextHandler(os.Stderr, options))
	case "json":
		c.log = slog.New(slog.NewJSONHandler(cmdline.SafeJSONWriter(os.Stderr), options))
	default:
		return fmt.Errorf("--log-format %q is neither text nor json", c.logFormat)
	}
	return nil
}

// ignoredMountOptions lists the options of -o that are accepted without effect. So are
// entry_timeout=N and attr_timeout=N.
var ignoredMountOptions = []string{"allow_other", "default_permissions", "direct_io", "nonempty"}

func (c *config) setMountOptions() error {
	for _, option := range c.fuseOptions.Value() {
		var n uint
		switch {
		case slices.Contains(ignoredMountOptions, option), option == "":
		case strings.HasPrefix(option, "entry_timeout="), strings.HasPrefix(option, "attr_timeout="):
		case strings.HasPrefix(option, "max_read="):
			_, err := fmt.Sscanf(option, "max_read=%d", &n)
			if err != nil || fmt.Sprintf("max_read=%d", n) != option {
				return fmt.Errorf("-o %q: want max_read=N, a number of bytes", option)
			}
			c.mountOptions = append(c.mountOptions, option)
		default:
			const known = "max_read=N, entry_timeout=N, attr_timeout=N, "
			return fmt.Errorf("-o %q is unknown: want %s",
				option, known+strings.Join(ignoredMountOptions, ", "))
		}
	}
	return nil
}
