package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/sys"
)

// Config is a container's configuration that is being changed. What is not known of it stays as it is.
type Config struct {
	// Spec is the configuration as it was read. Changes of it are to be told by the methods.
	Spec specs.Spec
	raw  object
}

// ParseConfig parses a configuration.
func ParseConfig(text []byte) (*Config, error) {
	c := new(Config)
	if err := json.Unmarshal(text, &c.Spec); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &c.raw); err != nil {
		return nil, err
	}
	if c.raw == nil {
		return nil, errors.New("it is no JSON object")
	}
	return c, nil
}

// ReadConfig reads the configuration in a file.
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

// originalSuffix is that of the file in which the configuration is kept as it was.
const originalSuffix = ".before-userns-shift"

// Original is the file in which a configuration is kept as it was before Replace.
func Original(file string) string { return file + originalSuffix }

// Replace writes the configuration to the file from which it was read. What was there stays beside it with keep.
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

// Encode is the configuration as text.
func (c *Config) Encode() ([]byte, error) { return encode(c.raw) }

// set changes a field of an object in the configuration, which is made if need be.
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

// SetRoot makes path the root file system's.
func (c *Config) SetRoot(path string) error {
	if c.Spec.Root == nil {
		c.Spec.Root = new(specs.Root)
	}
	c.Spec.Root.Path = path
	return c.set("root", "path", path)
}

// SetUserNamespace gives the container a user namespace with the mappings.
func (c *Config) SetUserNamespace(uids, gids []specs.LinuxIDMapping) error {
	if c.Spec.Linux == nil {
		c.Spec.Linux = new(specs.Linux)
	}
	linux := c.Spec.Linux
	if !c.HasNamespace(specs.UserNamespace) {
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	linux.UIDMappings, linux.GIDMappings = uids, gids
	return errors.Join(c.set("linux", "namespaces", linux.Namespaces), c.set("linux", "uidMappings", uids),
		c.set("linux", "gidMappings", gids))
}

// SetSysctl changes a parameter of the kernel that the container gets.
func (c *Config) SetSysctl(name, value string) error {
	c.Spec.Linux.Sysctl[name] = value
	return c.set("linux", "sysctl", c.Spec.Linux.Sysctl)
}

// namespace is the container's one of a type, nil if it has none of its own.
func (c *Config) namespace(kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
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

// HasNamespace tells whether the container is in another namespace of a type than the runtime.
func (c *Config) HasNamespace(kind specs.LinuxNamespaceType) bool { return c.namespace(kind) != nil }

// NamespacePath is the file of the namespace that the container is to join; empty if it gets a new one, or none.
func (c *Config) NamespacePath(kind specs.LinuxNamespaceType) string {
	if n := c.namespace(kind); n != nil {
		return n.Path
	}
	return ""
}

// SetMount replaces the type, source and options of a mount, by its place among Spec.Mounts.
func (c *Config) SetMount(i int, m specs.Mount) error {
	var mounts []object
	if err := json.Unmarshal(c.raw["mounts"], &mounts); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if i >= len(mounts) {
		return fmt.Errorf("mounts: there is no number %d", i) // the key stands there twice, in upper and lower case
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

// AddPoststop adds a hook that runs when the container is gone, unless it is there.
func (c *Config) AddPoststop(hook specs.Hook) error {
	a := Addition{Hooks: specs.Hooks{Poststop: []specs.Hook{hook}}}
	_, err := a.mergeHooks(c.raw)
	return err
}

// RootPath is the path of the root file system on the host, for a bundle in dir.
func (c *Config) RootPath(dir string) string {
	if c.Spec.Root == nil || c.Spec.Root.Path == "" || filepath.IsAbs(c.Spec.Root.Path) {
		if c.Spec.Root == nil {
			return ""
		}
		return c.Spec.Root.Path
	}
	return filepath.Join(dir, c.Spec.Root.Path)
}

// HookTimeout is after what time a runtime kills the hook with this program; 0 if never.
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
