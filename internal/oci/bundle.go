package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"palisade/internal/linux/sys"
)

// ConfigFile is the file name of a bundle's configuration (runtime-spec, bundle.md).
const ConfigFile = "config.json"

// Bundle holds the fields of a bundle's configuration that the hook needs.
type Bundle struct {
	// Root is the path of the root filesystem on the host.
	Root        string
	Annotations map[string]string
	// HasMasks reports whether there are masked or read-only paths. Runtimes make them after the
	// hooks.
	HasMasks bool
	// ReadOnly are the destinations of mounts that are read-only in the end. crun makes them so
	// after the hooks.
	ReadOnly []string
}

// ReadBundle reads the configuration of the bundle in dir.
func ReadBundle(dir string) (Bundle, error) {
	var c Config
	if err := readJSON(filepath.Join(dir, ConfigFile), &c.Spec); err != nil {
		return Bundle{}, err
	}
	b := Bundle{Root: c.RootPath(dir), Annotations: c.Spec.Annotations}
	if linux := c.Spec.Linux; linux != nil {
		b.HasMasks = len(linux.MaskedPaths)+len(linux.ReadonlyPaths) > 0
	}
	for _, m := range c.Spec.Mounts {
		if slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro") {
			b.ReadOnly = append(b.ReadOnly, filepath.Clean(m.Destination))
		}
	}
	return b, nil
}

// maxFile is the maximum size of a configuration file, in bytes.
const maxFile = 16 << 20

func readJSON(file string, v any) error {
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("parse %s: %w", file, err)
	}
	return nil
}

// replaceFile atomically replaces the content of a file. Its owner and mode stay.
func replaceFile(path string, text []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return sys.ReplaceFile(path, text, info)
}
