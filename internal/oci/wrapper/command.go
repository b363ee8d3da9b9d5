// Package wrapper holds the common parts of OCI runtime wrappers. A wrapper parses the command line
// of a runtime, changes the configuration of the container to be started, and executes the runtime.
package wrapper

import (
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/oci"
)

// Command is the parsed command line of an OCI runtime.
type Command struct {
	// Name is the command: create, run, start, ...; empty if there is none.
	Name string
	// ID is the container's, empty if there is none.
	ID string
	// log is the file for the runtime's errors, in the format logFormat; empty if there is none.
	log, logFormat string
	// config is the configuration file, an option of crun; bundle is the bundle's directory.
	config, bundle string
}

// Starts reports whether the command creates a container.
func (c *Command) Starts() bool { return c.Name == "create" || c.Name == "run" }

// ConfigFile returns the path of the container's configuration, absolute or relative to the working
// directory.
func (c *Command) ConfigFile() string {
	if filepath.IsAbs(c.config) {
		return c.config
	}
	return filepath.Join(c.bundle, c.config)
}

// Options of runc (main.go, create.go, run.go) and crun (crun.c, create.c, run.c) that take a
// value, in the next argument or after "=". runc accepts one dash for two.
var (
	globalOptions = []string{
		"criu", "root", "log", "log-format", "log-level", "cgroup-manager", "rootless",
	}
	commandOptions = []string{
		"bundle", "b", "console-socket", "pid-file", "preserve-fds", "pidfd-socket", "config", "f",
	}
)

// Bundle returns the path of the container's bundle.
func (c *Command) Bundle() string { return c.bundle }

// ParseCommand parses the arguments of an OCI runtime. It ignores unknown options and commands: the
// runtime rejects them if they are wrong.
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

// cutOption removes the first option and its value from args. If the first argument is no option,
// it removes that and returns an empty name.
func cutOption(args []string, withValue []string) (name, value string, rest []string) {
	first, rest := args[0], args[1:]
	if !strings.HasPrefix(first, "-") {
		return "", "", rest
	}
	name, value, joined := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(first, "-"), "-"), "=")
	if !strings.HasPrefix(first, "--") && !slices.Contains(withValue, name) {
		// crun accepts several letters behind one dash, the last with its value: -dbDIR.
		for i := 1; i < len(first); i++ {
			if letter := first[i : i+1]; slices.Contains(withValue, letter) {
				name, value = letter, first[i+1:]
				joined = value != ""
				break
			}
		}
	}
	if !joined && slices.Contains(withValue, name) && len(rest) > 0 {
		value, rest = rest[0], rest[1:]
	}
	return name, value, rest
}
