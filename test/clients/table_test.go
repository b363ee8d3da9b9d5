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

// TestTable checks that the page has the table with the verdicts in testdata.
func TestTable(t *testing.T) {
	checkTable(t, "../../docs/lxcfs.md", []string{"what it shows", "why"},
		func(c client, f figure) []string {
			return []string{verdict(t, "", c, f), f.why}
		})
}

// TestViewsTable does so for those with the views.
func TestViewsTable(t *testing.T) {
	checkTable(t, "../../docs/views.md", []string{"without views", "with `time`", "with `sysinfo` and `affinity`"},
		func(c client, f figure) []string {
			if !f.dependsOnViews() {
				return nil
			}
			return []string{verdict(t, "", c, f), verdict(t, "time-", c, f), verdict(t, "calls-", c, f)}
		})
}

// verdict returns the verdicts on a figure on v1 and v2, of the tables whose names begin with prefix.
func verdict(t *testing.T, prefix string, c client, f figure) string {
	t.Helper()
	shown, other := readTable(t, prefix+"v1")[key(c, f)], readTable(t, prefix+"v2")[key(c, f)]
	if other != shown {
		return fmt.Sprintf("v1: %s; v2: %s", shown, other)
	}
	return shown
}

// checkTable compares a page with its table of clients, which has these columns at the end. It ends
// at an empty line. Figures for which columnsOf returns nothing are left out.
func checkTable(t *testing.T, page string, columns []string, columnsOf func(client, figure) []string) {
	t.Helper()
	head := "| client | figure | what it reads | " + strings.Join(columns, " | ") + " |\n" +
		strings.Repeat("| --- ", 3+len(columns)) + "|\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), head)
	_, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table with the head %q", page, head)
	}
	golden.Check(t, page, before+head+rows(t, columnsOf)+"\n"+after)
}

// rows returns the rows of a table in Markdown.
func rows(t *testing.T, columnsOf func(client, figure) []string) string {
	versions := readTable(t, "versions")
	var b strings.Builder
	for _, c := range clients {
		name := c.name
		if version := versions[c.pkg]; name == c.pkg {
			name += " " + version
		} else if version != "" {
			name += " (" + c.pkg + " " + version + ")"
		}
		for _, f := range c.figures {
			columns := columnsOf(c, f)
			if columns == nil {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, f.name, f.from, strings.Join(columns, " | "))
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
