package main

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
	"palisade/internal/inject/toolkit"
)

// globals are the options of all commands.
type globals struct {
	mountpoint string
	logFile    string
	logLevel   string
	logFormat  string
	json       bool
	runtimeDir string
	whilePID   int

	// given are the options that are set, as arguments, except --json.
	given  []string
	log    *slog.Logger
	closer io.Closer
}

const defaultMountpoint = "/var/lib/lxc/lxcfs"

func (g *globals) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mountpoint", Value: defaultMountpoint, Destination: &g.mountpoint,
			Usage: "mount point `DIR` of lxcfs"},
		&cli.StringFlag{Name: "log", Destination: &g.logFile,
			Usage: "also log to `FILE`, which must be a regular file"},
		&cli.StringFlag{Name: "log-level", Destination: &g.logLevel,
			Usage: "lowest `LEVEL` to log: debug, info, warn or error " +
				"(default: info to a file, warn to stderr)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Destination: &g.logFormat,
			Usage: "log to the file as `FORMAT`: text or json"},
		&cli.StringFlag{Name: "runtime-dir", Value: toolkit.DefaultRuntimeDir, Destination: &g.runtimeDir,
			Usage: "keep the registry of containers, and a lock, in `DIR`"},
		&cli.IntFlag{Name: "while-pid", Destination: &g.whilePID,
			Usage: "fail when the process `PID`, the lxcfs to wait for, ends"},
		&cli.BoolFlag{Name: "json", Destination: &g.json, Usage: "print results as JSON"},
	}
}

// complete checks the global options and opens the log.
func (g *globals) complete(ctx *cli.Context) error {
	if ctx.IsSet("while-pid") && !isChild() {
		if g.whilePID < 1 {
			return cmdline.Usagef("--while-pid %d is no process", g.whilePID)
		}
		return runInChild(ctx.Context, g.whilePID)
	}
	if !filepath.IsAbs(g.mountpoint) {
		return cmdline.Usagef("--mountpoint %q is not an absolute path", g.mountpoint)
	}
	g.mountpoint = filepath.Clean(g.mountpoint)
	if g.logFile != "" {
		var err error
		if g.logFile, err = filepath.Abs(g.logFile); err != nil {
			return err
		}
	}
	g.given = given(ctx, option{"mountpoint", g.mountpoint}, option{"log", g.logFile},
		option{"log-level", g.logLevel}, option{"log-format", g.logFormat},
		option{"runtime-dir", g.runtimeDir})
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
	handlers := []slog.Handler{linelog.New("lxcfs-toolkit", os.Stderr, stderrLevel)}
	if g.logFile != "" {
		f, err := linelog.Open(g.logFile, 0o640)
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
	g.log = slog.New(slog.NewMultiHandler(handlers...))
	return nil
}

// option is a global option with its value.
type option struct{ name, value string }

// given returns the options that are set, as arguments, in the given order. The order is fixed
// since users keep the output of hook-spec under version control.
func given(ctx *cli.Context, options ...option) (args []string) {
	for _, o := range options {
		if ctx.IsSet(o.name) {
			args = append(args, "--"+o.name, o.value)
		}
	}
	return args
}

func (g *globals) close(*cli.Context) error {
	if g.closer == nil {
		return nil
	}
	return g.closer.Close()
}

func (g *globals) toolkit() *toolkit.Toolkit {
	return &toolkit.Toolkit{Mountpoint: g.mountpoint, RuntimeDir: g.runtimeDir, Log: g.log}
}

// noArguments returns an error if there are arguments besides options.
func noArguments(ctx *cli.Context) error {
	if ctx.NArg() > 0 {
		return cmdline.Usagef("argument %q is one too many: %s takes options only",
			ctx.Args().First(), ctx.Command.Name)
	}
	return nil
}

// needRoot returns an error for users other than root.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can mount in containers")
	}
	return nil
}
