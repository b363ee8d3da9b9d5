package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMarks makes sure that every block of every page is marked, and that few are not executed.
func TestMarks(t *testing.T) {
	pages, err := Pages(Repository)
	if err != nil || len(pages) < 12 {
		t.Fatalf("pages: %q, %v", pages, err)
	}
	run, notRun := 0, 0
	for _, page := range pages {
		blocks, err := Blocks(filepath.Join(Repository, page))
		if err != nil {
			t.Error(err)
		}
		names := make(map[string]bool)
		var last Kind = Text // of those that are executed, or written
		for _, b := range blocks {
			switch b.Kind {
			case Run, Fails:
				last = b.Kind
				run++
				if names[b.Arg] {
					t.Errorf("%s:%d: there are two blocks %s", page, b.Line, b.Arg)
				}
				names[b.Arg] = true
			case File:
				last = File
			case NotRun:
				notRun++
			case Shows, Rows:
				if last != Run && last != Fails {
					t.Errorf("%s:%d: nothing that is run stands before what is shown", page, b.Line)
				}
			}
		}
	}
	if notRun*10 > run {
		t.Errorf("%d blocks are run, %d are not", run, notRun)
	}
	t.Logf("%d blocks are run, %d are not", run, notRun)
}

// TestLinks makes sure that every link in the pages leads somewhere.
func TestLinks(t *testing.T) {
	pages, err := Pages(Repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		dead, err := DeadLinks(Repository, page)
		if err != nil {
			t.Error(err)
		}
		for _, message := range dead {
			t.Error(message)
		}
	}
}

// TestPagesAreReached makes sure that every page is linked by another.
func TestPagesAreReached(t *testing.T) {
	pages, err := Pages(Repository)
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{"README.md": true}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(Repository, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			path, _, _ := strings.Cut(found[1], "#")
			if target := filepath.Join(filepath.Dir(page), path); target != page {
				linked[target] = true
			}
		}
	}
	for _, page := range pages {
		if !linked[page] {
			t.Errorf("no page links to %s", page)
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, tt := range []struct {
		name, text, err string
		want            []Block
	}{
		{"none", "text\n    that goes on\n", "", nil},
		{"run", "<!-- run: one -->\n\n    echo 1\n\n    echo 2\n\ntext\n", "", []Block{{Run, "one", 3, "echo 1\n\necho 2\n"}}},
		{"two", "<!-- file: /etc/x -->\n\n    {}\n\n<!-- not run: there is no such thing -->\n\n    x\n", "",
			[]Block{{File, "/etc/x", 3, "{}\n"}, {NotRun, "there is no such thing", 7, "x\n"}}},
		{"no mark", "text\n\n    echo\n", ":3: a block has no mark", nil},
		{"no block", "<!-- run: one -->\n\ntext\n", ":3: a mark has no block", nil},
		{"no reason", "<!-- not run: no -->\n\n    x\n", "no mark that is known", nil},
		{"marked twice", "<!-- text -->\n<!-- shows -->\n\n    x\n", ":2: a mark follows another", nil},
		{"fence", "```\nx\n```\n", ":1: blocks are indented", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page.md")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Blocks(path)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPrints(t *testing.T) {
	b := Block{Text: "# a comment\ncat x    # another\n# one   2 ...\n# three\n\n# no output\n"}
	if got := b.Expected(); !slices.Equal(got, []string{"one   2 ...", "three"}) {
		t.Errorf("expected is %q", got)
	}
	for output, missing := range map[string]string{
		"one 2 kB\nthree\n": "", "zero\none\t 2 (kB)\nmore\nthree 3\n": "", "three\none 2 x\n": "three", "one 3\nthree\n": "one   2 ...", "": "one   2 ...",
	} {
		if got := Prints(output, b.Expected()); got != missing {
			t.Errorf("%q: %q is missing, want %q", output, got, missing)
		}
	}
	if got := FirstColumn("          without  with\n-----\nphysical id   0  0\n\nits ids  0\n"); !slices.Equal(got, []string{"physical id", "its ids"}) {
		t.Errorf("the first column is %q", got)
	}
}
