// Package internal has no code: this test holds the layers of its packages apart.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers lists the packages from the lowest layer up. A package imports only packages of lower layers.
var layers = [][]string{
	{"cli/golden", "cli/version", "lxcfs/fakehost", "inject/lxcfstest", "linux/ktext", "linux/testns"},
	{"linux/sys", "cli/clidoc", "linux/cpulist", "cli/cmdline", "authz/action", "authz/certs", "oci/idmap", "linux/lockfile", "linux/socket", "authz/strictjson", "oci/wiring"},
	{"linux/cgroup", "lxcfs/fusedev", "userns/idattr", "userns/journal", "userns/walk", "cli/linelog", "lxcfs/meter", "cli/metrics", "inject/mounts", "oci", "authz/policy", "linux/procfs", "cli/scrape"},
	{"lxcfs/account", "authz/audit", "cli/options", "inject/engine", "inject/probe", "userns/idmount", "oci/wrapper", "lxcfs/supervise"},
	{"authz/authzmetrics", "authz/broker", "lxcfs/persist", "ops/top", "userns/shift", "lxcfs/view"},
	{"lxcfs/container"},
	{"lxcfs/disk", "lxcfs/openfile", "userns/remap", "inject/toolkit"},
	{"lxcfs", "ops/doctor"},
}

// wings maps each directory of packages to the other directories from which they may import.
var wings = map[string][]string{
	"linux":  nil,
	"cli":    {"linux"},
	"oci":    {"linux", "cli"},
	"inject": {"linux", "cli", "oci"},
	"lxcfs":  {"linux", "cli", "inject"},
	"userns": {"linux", "cli", "oci"},
	"authz":  {"linux", "cli", "oci"},
	"ops":    {"linux", "cli", "oci", "inject", "userns", "authz"},
}

// wing returns the wing of a package of this module, or "".
func wing(importPath string) string {
	path, ok := strings.CutPrefix(importPath, "palisade/internal/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}

// startsPrograms are the packages that may start programs: clients of engines, and runtimes that
// replace this process.
var startsPrograms = map[string]bool{"palisade/internal/inject/engine": true, "palisade/internal/inject/lxcfstest": true, "palisade/internal/oci/wrapper": true}

type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func TestLayers(t *testing.T) {
	level := make(map[string]int)
	for i, packages := range layers {
		for _, name := range packages {
			level["palisade/internal/"+name] = i
		}
	}
	for _, p := range listPackages(t, "palisade/...") {
		own, known := level[p.ImportPath]
		if !known && len(p.Imports) == 0 {
			continue // the documentation of a group of packages
		}
		if !known && strings.HasPrefix(p.ImportPath, "palisade/internal/") {
			t.Errorf("%s is in no layer", p.ImportPath)
		}
		for _, path := range p.Imports {
			if below, ok := level[path]; ok && known && below >= own {
				t.Errorf("%s imports %s, which is in no lower layer", p.ImportPath, path)
			}
			if from, to := wing(p.ImportPath), wing(path); from != "" && to != "" && from != to && !slices.Contains(wings[from], to) {
				t.Errorf("%s imports %s, but packages of %s may only import from %q", p.ImportPath, path, from, wings[from])
			}
			if strings.HasPrefix(path, "palisade/cmd/") {
				t.Errorf("%s imports the command %s", p.ImportPath, path)
			}
			if path == "golang.org/x/sys/unix" && p.ImportPath != "palisade/internal/linux/sys" {
				t.Errorf("%s imports %s, which is left to internal/linux/sys", p.ImportPath, path)
			}
			if path == "os/exec" && strings.HasPrefix(p.ImportPath, "palisade/internal/") && !startsPrograms[p.ImportPath] {
				t.Errorf("%s starts programs", p.ImportPath)
			}
		}
		if slices.Contains(p.Imports, "C") || len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
}

// row is one of the table in the design document: a layer, counted from 0, and a package.
var row = regexp.MustCompile("(?m)^\\| ([0-9]+) \\| `internal/([a-z/]+)` \\|")

// TestLayersInDesign holds the table of layers in the documents to the one here.
func TestLayersInDesign(t *testing.T) {
	text, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]string)
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		told[found[2]] = found[1]
	}
	for i, packages := range layers {
		for _, name := range packages {
			if told[name] != strconv.Itoa(i) {
				t.Errorf("docs/design.md has %s in layer %q, want %d", name, told[name], i)
			}
			delete(told, name)
		}
	}
	for name, layer := range told {
		t.Errorf("docs/design.md has %s in layer %s, which is no package", name, layer)
	}
}

func listPackages(t *testing.T, pattern string) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", pattern).Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < len(layers) {
		t.Fatalf("only %d packages are listed", len(packages))
	}
	return packages
}
