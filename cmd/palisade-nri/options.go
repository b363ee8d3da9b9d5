package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/metrics"
	"palisade/internal/cli/options"
	"palisade/internal/inject/toolkit"
	"palisade/internal/nri"
	"palisade/internal/nri/install"
)

type agentOptions struct {
	index, name            string
	strict                 bool
	byDefault              string
	mountpoint, runtimeDir string
	logLevel, logFormat    string
	enterHost              bool
	installDir             string
	metrics                metrics.Options
	level                  slog.Level
}

// Options with lists.
const (
	socketOption       = "socket"
	onNamespaceOption  = "on-namespace"
	offNamespaceOption = "off-namespace"
	onLabelOption      = "on-label"
	offLabelOption     = "off-label"
	installOption      = "install"
)

func (o *agentOptions) flags() []cli.Flag {
	list := func(name, usage string, value ...string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Value: cli.NewStringSlice(value...), Usage: usage}
	}
	return append([]cli.Flag{
		list(socketOption, "serve the container runtime at its NRI socket `PATH`; may be repeated",
			"/var/run/nri/nri.sock"),
		&cli.StringFlag{Name: "plugin-index", Value: "50", Destination: &o.index,
			Usage: "call this plug-in after those of a smaller index `NN`, two digits"},
		&cli.StringFlag{Name: "plugin-name", Value: "palisade-nri", Destination: &o.name,
			Usage: "register as the plug-in `NAME`"},
		&cli.StringFlag{Name: "default", Value: "on", Destination: &o.byDefault,
			Usage: "give the files to pods that no other rule names: `WHICH` is on or off"},
		list(onNamespaceOption, "give the files to pods in the namespace `NAME`; may be repeated"),
		list(offNamespaceOption, "give no files to pods in the namespace `NAME`; may be repeated, "+
			"and replaces the default value; \"\" for none", "kube-system"),
		list(onLabelOption, "give the files to pods with the label `KEY=VALUE`; may be repeated, "+
			"and takes precedence over namespaces"),
		list(offLabelOption, "give no files to pods with the label `KEY=VALUE`; may be repeated, "+
			"and takes precedence over --on-label"),
		&cli.BoolFlag{Name: "strict", Destination: &o.strict,
			Usage: "start no container if lxcfs fails, unless its pod has the annotation " +
				"palisade.strict: \"false\""},
		&cli.BoolFlag{Name: "enter-host", Destination: &o.enterHost,
			Usage: "enter the mount namespace of process 1, from a pod with hostPID: " +
				"all other paths are those of the host"},
		&cli.StringFlag{Name: installOption, Destination: &o.installDir,
			Usage: "install the lxcfs that lies beside this program in `DIR` of the host, " +
				"unless the host has one, and run it by the host's systemd"},
		&cli.StringFlag{Name: "mountpoint", Value: options.DefaultMountpoint,
			Destination: &o.mountpoint, Usage: "mount point `DIR` of lxcfs"},
		&cli.StringFlag{Name: "runtime-dir", Value: toolkit.DefaultRuntimeDir,
			Destination: &o.runtimeDir,
			Usage:       "keep the registry of containers, and a lock, in `DIR`"},
		&cli.StringFlag{Name: "log-level", Value: "info", Destination: &o.logLevel,
			Usage: "lowest `LEVEL` to log: debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", Value: "text", Destination: &o.logFormat,
			Usage: "log to stderr as `FORMAT`: text or json"},
	}, o.metrics.Flags()...)
}

// complete checks the options and returns the agent's.
func (o *agentOptions) complete(ctx *cli.Context) (nri.Options, error) {
	configuration := nri.Options{
		Sockets: ctx.StringSlice(socketOption), Index: o.index, Name: o.name,
		Rules: nri.Rules{Default: o.byDefault == "on", Strict: o.strict},
	}
	for _, socket := range configuration.Sockets {
		if !filepath.IsAbs(socket) {
			return configuration, cmdline.Usagef("--socket %q is not an absolute path", socket)
		}
	}
	slices.Sort(configuration.Sockets)
	configuration.Sockets = slices.Compact(configuration.Sockets)
	switch {
	case len(o.index) != 2 || strings.Trim(o.index, "0123456789") != "":
		return configuration, cmdline.Usagef("--plugin-index %q: want two digits", o.index)
	case o.name == "":
		return configuration, cmdline.Usagef("--plugin-name %q: want a name", o.name)
	case o.byDefault != "on" && o.byDefault != "off":
		return configuration, cmdline.Usagef("--default %q is neither on nor off", o.byDefault)
	case !filepath.IsAbs(o.mountpoint):
		return configuration, cmdline.Usagef("--mountpoint %q is not an absolute path", o.mountpoint)
	case !filepath.IsAbs(o.runtimeDir):
		return configuration, cmdline.Usagef("--runtime-dir %q is not an absolute path", o.runtimeDir)
	case o.installDir != "" && !install.IsDir(o.installDir):
		return configuration, cmdline.Usagef("--install %q: want an absolute path of letters, digits, "+
			"and ./_-", o.installDir)
	case o.installDir != "" && filepath.Clean(o.mountpoint) != options.DefaultMountpoint:
		return configuration, cmdline.Usagef("--install: want --mountpoint %s, not %q",
			options.DefaultMountpoint, o.mountpoint)
	case o.installDir != "" && filepath.Clean(o.runtimeDir) != toolkit.DefaultRuntimeDir:
		return configuration, cmdline.Usagef("--install: want --runtime-dir %s, not %q",
			toolkit.DefaultRuntimeDir, o.runtimeDir)
	case o.level.UnmarshalText([]byte(o.logLevel)) != nil:
		return configuration,
			cmdline.Usagef("--log-level %q is none of debug, info, warn, error", o.logLevel)
	case o.logFormat != "text" && o.logFormat != "json":
		return configuration, cmdline.Usagef("--log-format %q is neither text nor json", o.logFormat)
	}
	if err := o.metrics.Validate(ctx.IsSet); err != nil {
		return configuration, cmdline.UsageError{Err: err}
	}
	isLabel := func(text string) bool { key, _, ok := strings.Cut(text, "="); return ok && key != "" }
	var err1, err2 error
	r := &configuration.Rules
	r.Labels, err1 = merge(ctx, onLabelOption, offLabelOption, "KEY=VALUE", isLabel)
	isName := func(text string) bool { return !strings.ContainsAny(text, "/ ,*") }
	r.Namespaces, err2 = merge(ctx, onNamespaceOption, offNamespaceOption, "a name", isName)
	if err1 != nil {
		return configuration, err1
	}
	return configuration, err2
}

// merge returns the values of two options, true for those of the first. It returns a usage error if
// a value is invalid, or both options have it on the command line.
func merge(
	ctx *cli.Context, on, off, want string, isValid func(string) bool,
) (map[string]bool, error) {
	merged := make(map[string]bool)
	for _, option := range []string{off, on} {
		for _, value := range ctx.StringSlice(option) {
			if value == "" && option == offNamespaceOption {
				continue
			}
			if value == "" || !isValid(value) {
				return nil, cmdline.Usagef("--%s %q: want %s", option, value, want)
			}
			if isOn, ok := merged[value]; ok && !isOn && option == on && ctx.IsSet(off) {
				return nil, cmdline.Usagef("%q is in both --%s and --%s", value, on, off)
			}
			merged[value] = option == on
		}
	}
	return merged, nil
}

func (o *agentOptions) handler() slog.Handler {
	options := &slog.HandlerOptions{Level: o.level}
	if o.logFormat == "json" {
		return slog.NewJSONHandler(cmdline.SafeJSONWriter(os.Stderr), options)
	}
	return slog.NewTextHandler(os.Stderr, options)
}
