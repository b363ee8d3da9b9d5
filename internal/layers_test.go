// Package internal has no code: this test checks which packages import which.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// startsPrograms are the packages that may start programs: clients of engines, runtimes that replace
// this process, and one for tests.
var startsPrograms = []string{"palisade/internal/inject/engine", "palisade/internal/oci/wrapper",
	"palisade/internal/inject/lxcfstest"}

// nriModule is linked into palisade-nri only: it would add three megabytes to each other program,
// such as the hook.
const (
	nriModule  = "github.com/containerd/nri/"
	nriPackage = "palisade/internal/nri"
)

type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

// dir returns the directory below internal of a package of this module, or "".
func dir(importPath string) string {
	path, _ := strings.CutPrefix(importPath, "palisade/internal/")
	if path == importPath {
		return ""
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}

func TestImports(t *testing.T) {
	allowed, packages := design(t)
	for _, p := range listPackages(t) {
		from := dir(p.ImportPath)
		for _, path := range p.Imports {
			to := dir(path)
			if from != "" && to != "" && from != to && !slices.Contains(allowed[from], to) {
				t.Errorf("%s imports %s, but packages of %s may only import from %q",
					p.ImportPath, path, from, allowed[from])
			}
			if name, ok := strings.CutPrefix(path, "palisade/internal/"); ok &&
				packages[name].forTests && !packages[strings.TrimPrefix(p.ImportPath, "palisade/internal/")].forTests {
				t.Errorf("%s imports %s outside of its tests", p.ImportPath, path)
			}
			if strings.HasPrefix(path, "palisade/cmd/") {
				t.Errorf("%s imports the command %s", p.ImportPath, path)
			}
			if path == "golang.org/x/sys/unix" && p.ImportPath != "palisade/internal/linux/sys" {
				t.Errorf("%s imports %s, which is left to internal/linux/sys", p.ImportPath, path)
			}
			if strings.HasPrefix(path, nriModule) && p.ImportPath != nriPackage {
				t.Errorf("%s imports %s, which is left to internal/nri", p.ImportPath, path)
			}
			if path == nriPackage && p.ImportPath != "palisade/cmd/palisade-nri" {
				t.Errorf("%s imports %s, which only palisade-nri links", p.ImportPath, path)
			}
			if path == "os/exec" && from != "" && !slices.Contains(startsPrograms, p.ImportPath) {
				t.Errorf("%s starts programs", p.ImportPath)
			}
		}
		if slices.Contains(p.Imports, "C") || len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
}

// TestPackagesInDesign compares the packages with the table in the design document.
func TestPackagesInDesign(t *testing.T) {
	_, listed := design(t)
	for _, p := range listPackages(t) {
		name, ok := strings.CutPrefix(p.ImportPath, "palisade/internal/")
		if !ok {
			continue
		}
		if _, ok := listed[name]; !ok && len(p.Imports) > 0 { // else it is only a doc.go
			t.Errorf("docs/design.md does not list internal/%s", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/design.md lists internal/%s, which does not exist", name)
	}
}

var (
	dirRow     = regexp.MustCompile("(?m)^\\| `internal/([a-z]+)` \\| [^|]* \\| ([a-z, ]+) \\|$")
	packageRow = regexp.MustCompile("(?m)^\\| `internal/([a-z/]+)` \\| ([^|]*) \\|$")
)

// designPackage is a row of the table of packages. One for tests is not linked into programs.
type designPackage struct{ forTests bool }

// design returns from the tables of the design document which directories each directory may import
// from, and the packages.
func design(t *testing.T) (
	allowed map[string][]string, packages map[string]designPackage,
) {
	t.Helper()
	text, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed, packages = make(map[string][]string), make(map[string]designPackage)
	for _, row := range dirRow.FindAllStringSubmatch(string(text), -1) {
		allowed[row[1]] = strings.Split(row[2], ", ")
	}
	for _, row := range packageRow.FindAllStringSubmatch(string(text), -1) {
		packages[row[1]] = designPackage{strings.HasSuffix(row[2], "; for tests")}
	}
	if len(allowed) < 8 || len(packages) < 40 {
		t.Fatalf("docs/design.md lists %d directories and %d packages", len(allowed), len(packages))
	}
	return allowed, packages
}

func listPackages(t *testing.T) (packages []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "palisade/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
