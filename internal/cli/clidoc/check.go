package clidoc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
)

// In a man page the part between these lines is made here. The rest is written by hand.
const (
	begin = "<!-- From here on it is made of the program's own definition: go test ./cmd/%s -update -->\n\n"
	end   = "\n<!-- Up to here. -->\n"
)

// Check compares the man page and the completions below a folder with the program, as golden files.
func (p Program) Check(t testing.TB, root string) {
	t.Helper()
	name := p.App.Name
	page := filepath.Join(root, "docs", "man", name+".8.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf(begin, name)
	head, rest, ok := strings.Cut(string(text), first)
	_, tail, okTail := strings.Cut(rest, end)
	if !ok || !okTail {
		t.Fatalf("%s has no part for the options: %q", page, first)
	}
	golden.Check(t, page, head+first+p.Options()+end+tail)
	golden.Check(t, filepath.Join(root, "completions", "bash", name), p.Bash())
	golden.Check(t, filepath.Join(root, "completions", "zsh", "_"+name), p.Zsh())
}
