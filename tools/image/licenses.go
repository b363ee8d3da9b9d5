package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// licenseFile is the file of the image with the licenses.
const licenseFile = "usr/share/doc/palisade/LICENSES"

var licenseName = regexp.MustCompile(`(?i)^(license|copying|notice)`)

// licenses returns the license of the project and those of the modules in the programs, which must
// be distributed with them.
func licenses(programs []program, own string) ([]byte, error) {
	text, err := os.ReadFile(own)
	if err != nil {
		return nil, err
	}
	modules := make(map[string]bool)
	for _, p := range programs {
		for _, m := range p.info.Deps {
			modules[m.Path+"@"+m.Version] = true
		}
	}
	cmd := exec.Command("go", append([]string{"mod", "download", "-json"},
		slices.Sorted(maps.Keys(modules))...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find the modules: %w", err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Path, Version, Dir string }
		if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
			return text, nil
		} else if err != nil {
			return nil, fmt.Errorf("find the modules: %w", err)
		}
		files, err := os.ReadDir(module.Dir)
		if err != nil {
			return nil, err
		}
		found := false
		for _, f := range files {
			if !f.Type().IsRegular() || !licenseName.MatchString(f.Name()) {
				continue
			}
			content, err := os.ReadFile(filepath.Join(module.Dir, f.Name()))
			if err != nil {
				return nil, err
			}
			text = fmt.Appendf(text, "\n===== %s@%s/%s\n\n%s",
				module.Path, module.Version, f.Name(), content)
			found = true
		}
		if !found {
			return nil, fmt.Errorf("module %s has no license", module.Path)
		}
	}
}
