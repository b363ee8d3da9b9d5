package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// step is one of the lists of calls in the design document: a file and a function of it.
var step = regexp.MustCompile("^[0-9]+\\. `([^`:]+\\.go): ([A-Za-z.]+)`")

// TestCallPaths checks that the functions in the lists of calls exist, and that no list comes back
// to a file.
func TestCallPaths(t *testing.T) {
	text, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string // the files of the current list
	steps := 0
	for line := range strings.Lines(string(text)) {
		found := step.FindStringSubmatch(line)
		if found == nil {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "**") {
				list = nil
			}
			continue
		}
		steps++
		file, function := found[1], found[2]
		if functions := functionsOf(t, "../"+file); !slices.Contains(functions, function) {
			t.Errorf("%s has no function %s", file, function)
		}
		if i := slices.Index(list, file); i >= 0 && i < len(list)-1 {
			t.Errorf("%s: %s comes back to this file", file, function)
		}
		list = append(list, file)
		list = slices.Compact(list)
	}
	if steps < 25 {
		t.Errorf("docs/design.md has %d steps of calls, want five lists", steps)
	}
}

// functionsOf returns the names of the functions in a file, those of methods as Type.Method.
func functionsOf(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range file.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := function.Name.Name
		if function.Recv != nil {
			receiver := function.Recv.List[0].Type
			if pointer, ok := receiver.(*ast.StarExpr); ok {
				receiver = pointer.X
			}
			if generic, ok := receiver.(*ast.IndexExpr); ok {
				receiver = generic.X
			}
			name = receiver.(*ast.Ident).Name + "." + name
		}
		names = append(names, name)
	}
	return names
}
