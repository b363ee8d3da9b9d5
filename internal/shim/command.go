// Package shim is what OCI runtime wrappers have in common: they understand the command line of a runtime, change the
// configuration of the container that it is to start, and become the runtime.
package shim

import (
	"path/filepath"
	"strings"

	"palisade/internal/oci"
)

// Command is a command line of an OCI runtime.
type Command struct {
	// Name is the command's: create, run, start, ...; empty if there is none.
	Name string
	// ID is the container's, empty if there is none.
	ID string
	// log is the file to which the runtime is to write its errors, as logFormat says; empty if it has none.
	log, logFormat string
	// config is the file of the configuration, which crun lets choose; bundle is the bundle's folder.
	config, bundle string
}

// Starts tells whether the command makes a container, with the hooks of its configuration.
func (c *Command) Starts() bool { return c.Name == "create" || c.Name == "run" }

// ConfigFile is the container's configuration, relative to the working directory unless it is absolute.
func (c *Command) ConfigFile() string {
	if filepath.IsAbs(c.config) {
		return c.config
	}
	return filepath.Join(c.bundle, c.config)
}

// Options of runc (main.go, create.go, run.go) and crun (crun.c, create.c, run.c) whose value is the next argument, unless
// it is joined to them by "=". runc takes one dash for two.
var (
	globalOptions  = optionSet("criu", "root", "log", "log-format", "log-level", "cgroup-manager", "rootless")
	commandOptions = optionSet("bundle", "b", "console-socket", "pid-file", "preserve-fds", "pidfd-socket", "config", "f")
)

func optionSet(names ...string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// Bundle is the folder of the container's bundle.
func (c *Command) Bundle() string { return c.bundle }

// ParseCommand understands the arguments of an OCI runtime, as far as it is needed to know the configuration. What it does
// not know is left to the runtime, which will refuse it if it is wrong.
func ParseCommand(args []string) Command {
	c := Command{config: oci.ConfigFile, bundle: "."}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		var name, value string
		name, value, args = cutOption(args, globalOptions)
		switch name {
		case "log":
			c.log = value
		case "log-format":
			c.logFormat = value
		}
	}
	if len(args) == 0 {
		return c
	}
	c.Name, args = args[0], args[1:]
	for len(args) > 0 && args[0] != "--" {
		var name, value string
		if c.ID == "" && !strings.HasPrefix(args[0], "-") {
			c.ID = args[0]
		}
		name, value, args = cutOption(args, commandOptions)
		switch name {
		case "bundle", "b":
			c.bundle = value
		case "config", "f":
			c.config = value
		}
	}
	return c
}

// cutOption takes an option and its value, or another argument with an empty name, from the beginning of the arguments.
func cutOption(args []string, withValue map[string]bool) (name, value string, rest []string) {
	first, rest := args[0], args[1:]
	if !strings.HasPrefix(first, "-") {
		return "", "", rest
	}
	name, value, joined := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(first, "-"), "-"), "=")
	if !strings.HasPrefix(first, "--") && !withValue[name] {
		// crun takes several letters behind one dash, the last with its value: -dbDIR.
		for i := 1; i < len(first); i++ {
			if letter := first[i : i+1]; withValue[letter] {
				name, value = letter, first[i+1:]
				joined = value != ""
				break
			}
		}
	}
	if !joined && withValue[name] && len(rest) > 0 {
		value, rest = rest[0], rest[1:]
	}
	return name, value, rest
}
