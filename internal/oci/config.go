package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
)

// Config is a container's configuration, to be changed. Fields unknown to runtime-spec are kept.
type Config struct {
	// Spec is the parsed configuration. Only the methods of Config may change it.
	Spec specs.Spec
	raw  object
}

// ParseConfig parses the content of a config.json.
func ParseConfig(text []byte) (*Config, error) {
	c := new(Config)
	if err := json.Unmarshal(text, &c.Spec); err != nil {
		return nil, err
	}
	var err error
	c.raw, err = parseObject(text)
	return c, err
}

// ReadConfig reads and parses a config.json.
func ReadConfig(file string) (*Config, error) {
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	return c, nil
}

const originalSuffix = ".before-userns-shift"

// Original returns the path of the backup that Replace makes of a configuration file.
func Original(file string) string { return file + originalSuffix }

// Replace writes the configuration to the file from which it was read. With keep, the former
// content goes to Original(file).
func (c *Config) Replace(file string, keep bool) error {
	changed, err := c.Encode()
	if err != nil {
		return err
	}
	if keep {
		original, err := sys.ReadRegular(file, maxFile)
		if err == nil {
			err = sys.ReplaceFile(Original(file), original, nil)
		}
		if err != nil {
			return err
		}
	}
	return replaceFile(file, changed)
}

// Encode returns the configuration as JSON.
func (c *Config) Encode() ([]byte, error) { return encode(c.raw) }

// set changes a field of the object parent, which is created if it is missing.
func (c *Config) set(parent, name string, value any) error {
	o, err := c.raw.child(parent)
	if err != nil {
		return fmt.Errorf("%s: %w", parent, err)
	}
	if o[name], err = encode(value); err != nil {
		return err
	}
	c.raw[parent], err = encode(o)
	return err
}

// SetRoot sets the path of the root filesystem.
func (c *Config) SetRoot(path string) error {
	if c.Spec.Root == nil {
		c.Spec.Root = new(specs.Root)
	}
	c.Spec.Root.Path = path
	return c.set("root", "path", path)
}

// SetUserNamespace gives the container a user namespace with the id mappings.
func (c *Config) SetUserNamespace(uids, gids []specs.LinuxIDMapping) error {
	if c.Spec.Linux == nil {
		c.Spec.Linux = new(specs.Linux)
	}
	linux := c.Spec.Linux
	if c.Namespace(specs.UserNamespace) == nil {
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	linux.UIDMappings, linux.GIDMappings = uids, gids
	return errors.Join(
		c.set("linux", "namespaces", linux.Namespaces),
		c.set("linux", "uidMappings", uids),
		c.set("linux", "gidMappings", gids),
	)
}

// SetSysctl changes a sysctl that the configuration sets already.
func (c *Config) SetSysctl(name, value string) error {
	c.Spec.Linux.Sysctl[name] = value
	return c.set("linux", "sysctl", c.Spec.Linux.Sysctl)
}

// Namespace returns the entry for a type of namespace, or nil if the container shares the
// runtime's. An empty path stands for a new one.
func (c *Config) Namespace(kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
	if c.Spec.Linux == nil {
		return nil
	}
	for i := range c.Spec.Linux.Namespaces {
		if n := &c.Spec.Linux.Namespaces[i]; n.Type == kind {
			return n
		}
	}
	return nil
}

// SetMount replaces the type, source and options of Spec.Mounts[i].
func (c *Config) SetMount(i int, m specs.Mount) error {
	var mounts []object
	if err := json.Unmarshal(c.raw["mounts"], &mounts); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if i >= len(mounts) {
		// The file has the key twice, in upper and in lower case.
		return fmt.Errorf("mounts: no entry %d", i)
	}
	if mounts[i] == nil {
		mounts[i] = make(object)
	}
	c.Spec.Mounts[i] = m
	for name, value := range map[string]any{"type": m.Type, "source": m.Source, "options": m.Options} {
		text, err := encode(value)
		if err != nil {
			return err
		}
		mounts[i][name] = text
	}
	var err error
	c.raw["mounts"], err = encode(mounts)
	return err
}

// AddPoststop adds a poststop hook, unless the configuration has it.
func (c *Config) AddPoststop(hook specs.Hook) error {
	a := Addition{Hooks: specs.Hooks{Poststop: []specs.Hook{hook}}}
	_, err := a.mergeHooks(c.raw)
	return err
}

// RootPath returns the path of the root filesystem on the host, for a bundle in dir.
func (c *Config) RootPath(dir string) string {
	if c.Spec.Root == nil {
		return ""
	}
	if c.Spec.Root.Path == "" || filepath.IsAbs(c.Spec.Root.Path) {
		return c.Spec.Root.Path
	}
	return filepath.Join(dir, c.Spec.Root.Path)
}

// HookTimeout returns the time after which a runtime kills the hook program, or 0 for no limit.
func (c *Config) HookTimeout(program string) time.Duration {
	if c.Spec.Hooks == nil {
		return 0
	}
	for _, s := range stages(c.Spec.Hooks) {
		for _, h := range *s.hooks {
			if h.Path == program && h.Timeout != nil && *h.Timeout > 0 {
				return time.Duration(*h.Timeout) * time.Second
			}
		}
	}
	return 0
}
