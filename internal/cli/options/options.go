// Package options has the global options of lxcfs-toolkit and palisade: which lxcfs, what to log
// and how to print results.
package options

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/linelog"
)

// Global are the options of all commands.
type Global struct {
	// Program is the name of the program in log messages.
	Program string
	// Mountpoint is the absolute mount point of lxcfs, RuntimeDir the directory of the registry.
	Mountpoint, RuntimeDir string
	JSON                   bool
	// Log is set by Complete.
	Log *slog.Logger

	logFile, logLevel, logFormat string
	closer                       io.Closer
}

// DefaultMountpoint is the mount point of lxcfs.
const DefaultMountpoint = "/var/lib/lxc/lxcfs"

// Flags returns the options. RuntimeDir has its default value before.
func (g *Global) Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mountpoint", Value: DefaultMountpoint, Destination: &g.Mountpoint,
			Usage: "mount point `DIR` of lxcfs"},
		&cli.StringFlag{Name: "log", Destination: &g.logFile,
			Usage: "also log to `FILE`, which must be a regular file"},
		&cli.StringFlag{Name: "log-level", Destination: &g.logLevel,
			Usage: "lowest `LEVEL` to log: debug, info, warn or error " +
				"(default: info to a file, warn to stderr)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Destination: &g.logFormat,
			Usage: "log to the file as `FORMAT`: text or json"},
		&cli.StringFlag{Name: "runtime-dir", Value: g.RuntimeDir, Destination: &g.RuntimeDir,
			Usage: "keep the registry of containers, and a lock, in `DIR`"},
		&cli.BoolFlag{Name: "json", Destination: &g.JSON, Usage: "print results as JSON"},
	}
}

// Complete checks the options and opens the log. The caller must call Close.
func (g *Global) Complete() error {
	if !filepath.IsAbs(g.Mountpoint) {
		return cmdline.Usagef("--mountpoint %q is not an absolute path", g.Mountpoint)
	}
	g.Mountpoint = filepath.Clean(g.Mountpoint)
	fileLevel, stderrLevel := slog.LevelInfo, slog.LevelWarn
	if g.logLevel != "" {
		if err := fileLevel.UnmarshalText([]byte(g.logLevel)); err != nil {
			return cmdline.Usagef("--log-level %q is none of debug, info, warn, error", g.logLevel)
		}
		stderrLevel = fileLevel
	}
	if g.logFormat != "text" && g.logFormat != "json" {
		return cmdline.Usagef("--log-format %q is neither text nor json", g.logFormat)
	}
	handlers := []slog.Handler{linelog.New(g.Program, os.Stderr, stderrLevel)}
	if g.logFile != "" {
		path, err := filepath.Abs(g.logFile)
		if err != nil {
			return err
		}
		g.logFile = path
		f, err := linelog.Open(path, 0o640)
		if err != nil {
			return fmt.Errorf("use --log: %w", err)
		}
		g.closer = f
		options := &slog.HandlerOptions{Level: fileLevel}
		if g.logFormat == "json" {
			handlers = append(handlers, slog.NewJSONHandler(cmdline.SafeJSONWriter(f), options))
		} else {
			handlers = append(handlers, slog.NewTextHandler(f, options))
		}
	}
	g.Log = slog.New(slog.NewMultiHandler(handlers...))
	return nil
}

// Close closes the log.
func (g *Global) Close(*cli.Context) error {
	if g.closer == nil {
		return nil
	}
	return g.closer.Close()
}

// Given returns the options of these names that are set, as arguments with the values of Complete,
// in the given order.
func Given(ctx *cli.Context, names ...string) (args []string) {
	for _, name := range names {
		if ctx.IsSet(name) {
			args = append(args, "--"+name, ctx.String(name))
		}
	}
	return args
}

// NoArguments returns an error if there are arguments besides options.
func NoArguments(ctx *cli.Context) error {
	if ctx.NArg() > 0 {
		return cmdline.Usagef("argument %q is one too many: %s takes options only",
			ctx.Args().First(), ctx.Command.Name)
	}
	return nil
}

// AsRoot returns the action of a command that takes options only, and that only root can run.
func AsRoot(action cli.ActionFunc) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		if err := NoArguments(ctx); err != nil {
			return err
		}
		if err := NeedRoot(); err != nil {
			return err
		}
		return action(ctx)
	}
}

// NeedRoot returns an error for users other than root.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can mount in containers")
	}
	return nil
}
