package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"palisade/internal/sys"
)

// ConfigFile is the name of a bundle's configuration (runtime-spec, bundle.md).
const ConfigFile = "config.json"

// Bundle is what is needed of a bundle's configuration.
type Bundle struct {
	// Root is the path of the root file system on the host.
	Root        string
	Annotations map[string]string
}

// ReadBundle reads the configuration of the bundle in dir.
func ReadBundle(dir string) (Bundle, error) {
	file := filepath.Join(dir, ConfigFile)
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return Bundle{}, err
	}
	var config struct {
		Root        struct{ Path string }
		Annotations map[string]string
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return Bundle{}, fmt.Errorf("parse %s: %w", file, err)
	}
	b := Bundle{Root: config.Root.Path, Annotations: config.Annotations}
	if b.Root != "" && !filepath.IsAbs(b.Root) {
		b.Root = filepath.Join(dir, b.Root)
	}
	return b, nil
}

// maxFile bounds a configuration.
const maxFile = 16 << 20

// replaceFile writes a file's new text; it keeps its owner and mode.
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
