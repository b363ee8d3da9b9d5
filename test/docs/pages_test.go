//go:build integration

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bare are the pages that begin on a machine without the packages.
var bare = []string{"README.md", "docs/install.md"}

// TestPages executes the blocks of each page, in order, in a world of its own.
func TestPages(t *testing.T) {
	pages, err := Pages(Repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		blocks, err := Blocks(filepath.Join(Repository, page))
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.ContainsFunc(blocks, executed) {
			continue
		}
		t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) { runPage(t, page, blocks) })
	}
}

func executed(b Block) bool { return b.Kind == Run || b.Kind == Fails }

// runPage executes a page, after what prepares a machine for it: testdata/PAGE.sh, with a dash for each slash.
func runPage(t *testing.T, page string, blocks []Block) {
	w := newWorld(t)
	prepare := filepath.Join("testdata", strings.TrimSuffix(strings.ReplaceAll(page, "/", "-"), ".md")+".sh")
	text, err := os.ReadFile(prepare)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	names := map[int]string{w.add(t, string(text)): prepare}
	numbers := make([]int, len(blocks)) // of what is run, or was before what is shown
	for i, b := range blocks {
		if script := script(b); script != "" {
			numbers[i] = w.add(t, script)
			names[numbers[i]] = fmt.Sprintf("%s:%d: %s", page, b.Line, b.Arg)
		} else if i > 0 {
			numbers[i] = numbers[i-1]
		}
	}
	layer := shared.layer
	if slices.Contains(bare, page) {
		layer = t.TempDir()
	}
	if failed := w.run(t, layer, 5*time.Minute); failed != 0 {
		t.Fatalf("%s fails: %s", names[failed], w.output(failed))
	}
	for i, b := range blocks {
		output := w.output(numbers[i])
		if missing := Prints(output, wanted(b)); missing != "" {
			t.Errorf("%s:%d: %q is not, or not at its place, in what is printed: %s", page, b.Line, missing, output)
		}
	}
}

// script is what is executed for a block.
func script(b Block) string {
	switch b.Kind {
	case Run:
		return b.Text
	case Fails:
		return "if (\n" + b.Text + "); then echo 'it does not fail'; exit 1; fi\n"
	case File:
		return fmt.Sprintf("mkdir -p '%s'; cat >'%s' <<'END OF FILE'\n%sEND OF FILE\n", filepath.Dir(b.Arg), b.Arg, b.Text)
	}
	return ""
}

// wanted is what a block says of outputs.
func wanted(b Block) []string {
	switch b.Kind {
	case Run, Fails:
		return b.Expected()
	case Shows:
		return strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")
	case Rows:
		return FirstColumn(b.Text)
	}
	return nil
}
