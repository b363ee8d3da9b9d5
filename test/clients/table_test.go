package clients

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
)

// The table in page begins with head and ends at an empty line.
const (
	page = "../../docs/lxcfs.md"
	head = "| client | figure | what it reads | what it shows | why |\n" +
		"| --- | --- | --- | --- | --- |\n"
)

// TestTable checks that the page has the table with the verdicts in testdata.
func TestTable(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), head)
	_, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table with the head %q", page, head)
	}
	golden.Check(t, page, before+table(t)+"\n"+after)
}

// table returns the table in Markdown.
func table(t *testing.T) string {
	v1, v2, versions := readTable(t, "v1"), readTable(t, "v2"), readTable(t, "versions")
	var b strings.Builder
	b.WriteString(head)
	for _, c := range clients {
		name := c.name
		if version := versions[c.pkg]; name == c.pkg {
			name += " " + version
		} else if version != "" {
			name += " (" + c.pkg + " " + version + ")"
		}
		for _, f := range c.figures {
			shown := v1[key(c, f)]
			if other := v2[key(c, f)]; other != shown {
				shown = fmt.Sprintf("v1: %s; v2: %s", shown, other)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, f.name, f.from, shown, f.why)
			name = ""
		}
	}
	return b.String()
}

// key names a figure in testdata.
func key(c client, f figure) string { return c.name + ": " + f.name }

// readTable reads a file of testdata: a key and a value on each line.
func readTable(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(tablePath(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		k, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		values[k] = value
	}
	return values
}

func tablePath(name string) string { return filepath.Join("testdata", name+".tsv") }
