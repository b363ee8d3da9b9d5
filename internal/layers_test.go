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

// layers lists the packages from the lowest layer up. A package imports only what stands in a line above its own.
var layers = [][]string{
	{"golden", "version"},
	{"sys", "clidoc", "cpulist", "cmdline", "authz/action", "authz/certs", "idmap", "lockfile", "socket", "authz/strictjson", "wiring"},
	{"cgroup", "fusedev", "userns/idattr", "userns/idmount", "userns/journal", "userns/walk", "linelog", "meter", "metrics", "mounts", "oci", "authz/policy", "procfs", "scrape"},
	{"account", "authz/audit", "engine", "probe", "userns/shift", "shim", "supervise"},
	{"authz/authzmetrics", "authz/broker", "top", "view"},
	{"container"},
	{"lxcfs", "userns/remap", "toolkit"},
	{"doctor"},
}

// startsPrograms are the packages that may start programs: the clients of engines, and runtimes of which this process becomes one.
var startsPrograms = map[string]bool{"palisade/internal/engine": true, "palisade/internal/shim": true}

// wings are directories of packages that do not import one another's.
var wings = []string{"authz", "userns"}

func isIn(importPath, wing string) bool {
	return strings.HasPrefix(importPath, "palisade/internal/"+wing+"/")
}

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
			t.Errorf("%s stands in no layer", p.ImportPath)
		}
		for _, path := range p.Imports {
			if below, ok := level[path]; ok && known && below >= own {
				t.Errorf("%s imports %s, which does not stand below it", p.ImportPath, path)
			}
			for _, wing := range wings {
				if isIn(p.ImportPath, wing) && slices.ContainsFunc(wings, func(other string) bool {
					return other != wing && isIn(path, other)
				}) {
					t.Errorf("%s imports %s", p.ImportPath, path)
				}
			}
			if strings.HasPrefix(path, "palisade/cmd/") {
				t.Errorf("%s imports the command %s", p.ImportPath, path)
			}
			if path == "golang.org/x/sys/unix" && p.ImportPath != "palisade/internal/sys" {
				t.Errorf("%s imports %s, which is left to internal/sys", p.ImportPath, path)
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
