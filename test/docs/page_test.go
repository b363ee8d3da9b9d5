// Package docs executes the code blocks of the documents. CONTRIBUTING.md describes their marks.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const repository = "../.."

// block is a code block that is executed.
type block struct {
	name   string // the page and the mark
	script string
	want   string // lines that the script prints, in this order
}

var (
	marked = regexp.MustCompile(`(?m)^<!-- (run: [a-z0-9-]+|fails: [a-z0-9-]+|file: /\S+|shows|` +
		`text|not run: \S.{10,}) -->\n\n((?:\n*    .*\n)+)\n*`)
	prepare  = regexp.MustCompile(`(?m)^<!-- prepare: (.+) -->\n`)
	unmarked = regexp.MustCompile("(?m)^(<!-- |```|\n    ).*")
	indent   = regexp.MustCompile(`(?m)^    `)
	// results matches the lines of output below a command.
	results = regexp.MustCompile(`(?m)^[^#\n].*\n((?:# .*\n)+)`)
	// values matches all but the first column of a table, and rules.
	values = regexp.MustCompile(`(?m)(\b  .*|^-+)$`)
	// symptom matches a row of the table of symptoms: its name, checks and remedies.
	symptom = regexp.MustCompile(`(?m)^\| <!-- ([a-z-]+) --> .+? \| .+? \| (.+) \| (.+) \|$`)
	command = regexp.MustCompile("`([^`]+)`[^`]*")
)

// parse returns the blocks of a page that are executed, and after them its symptoms. It is an error
// if a block has no mark, or a mark no block.
func parse(page, text string) (blocks []block, err error) {
	rest := symptom.ReplaceAllString(marked.ReplaceAllString(text, ""), "")
	rest = prepare.ReplaceAllString(rest, "")
	if found := unmarked.FindString(rest); found != "" || strings.Contains(rest, "\n| <!-- ") {
		return nil, fmt.Errorf("%s: %q: want a mark, and a block of four spaces", page, found)
	}
	for _, found := range prepare.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{name: page + ", preparation", script: found[1]})
	}
	for _, found := range marked.FindAllStringSubmatch(text, -1) {
		mark, file, _ := strings.Cut(found[1], ": ")
		code := indent.ReplaceAllString(found[2], "")
		b := block{name: page + ", " + found[1], script: code}
		for _, found := range results.FindAllStringSubmatch(code, -1) {
			b.want += strings.ReplaceAll("\n"+found[1], "\n# ", "\n")
		}
		switch mark {
		case "text", "not run":
			continue
		case "fails":
			b.script = fmt.Sprintf("if (\n%s); then echo 'it does not fail'; exit 1; fi\n", code)
		case "file":
			b.script = fmt.Sprintf("mkdir -p '%s'\ncat >'%s' <<'END OF FILE'\n%sEND OF FILE\n",
				filepath.Dir(file), file, code)
			b.want = ""
		case "shows":
			if len(blocks) == 0 {
				return nil, fmt.Errorf("%s: no block is executed before it", b.name)
			}
			blocks[len(blocks)-1].want += values.ReplaceAllString(code, "")
			continue
		}
		blocks = append(blocks, b)
	}
	for _, row := range symptom.FindAllStringSubmatch(text, -1) {
		check := command.ReplaceAllString(row[2], "$1\n")
		b := block{name: row[1], want: "== check\n"}
		b.script = fmt.Sprintf("check() {\n%s}\nremedy() {\n%s}\nrun_symptom %s\n",
			check, command.ReplaceAllString(row[3], "$1\n"), b.name)
		for line := range strings.Lines(check) {
			_, found, _ := strings.Cut(line, " # ")
			b.want += found
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// missing returns the first of the lines that is not in output after those before it. Any number of
// spaces equals one space, and "..." matches any text.
func missing(output, lines string) string {
	for line := range strings.Lines(lines) {
		pattern := strings.Join(strings.Fields(regexp.QuoteMeta(line)), `[ \t]+`)
		pattern = strings.ReplaceAll(pattern, `\.\.\.`, ".*")
		at := regexp.MustCompile(pattern).FindStringIndex(output)
		if at == nil {
			return line
		}
		output = output[at[1]:]
	}
	return ""
}

// parsePages returns the blocks of all pages by path. It is an error if many are not executed.
func parsePages(t *testing.T) map[string][]block {
	t.Helper()
	pages, run, notRun := make(map[string][]block), 0, 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/engines/*.md"} {
		found, err := fs.Glob(os.DirFS(repository), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range found {
			text, err := os.ReadFile(filepath.Join(repository, page))
			if err == nil {
				pages[page], err = parse(page, string(text))
			}
			if err != nil {
				t.Error(err)
			}
			run, notRun = run+len(pages[page]), notRun+strings.Count(string(text), "\n<!-- not run: ")
		}
	}
	if len(pages) < 12 || notRun*10 > run {
		t.Errorf("%d pages: %d blocks are executed, %d are not", len(pages), run, notRun)
	}
	return pages
}

func TestMarks(t *testing.T) { parsePages(t) }

func TestParse(t *testing.T) {
	for _, text := range []string{
		"text\n\n    echo\n", "<!-- run: one -->\n\ntext\n", "<!-- not run: no -->\n\n    x\n",
		"<!-- text -->\n<!-- text -->\n\n    x\n", "```\nx\n```\n", "<!-- shows -->\n\n    x\n",
		"\n| <!-- name --> symptom | cause |\n",
	} {
		if blocks, err := parse("page", text); err == nil {
			t.Errorf("%q: %q, want an error", text, blocks)
		}
	}
	blocks, err := parse("page", "text\n\n<!-- run: one -->\n\n    cat x # 1\n    # one   2 ...\n"+
		"    # three\n\n    # four\n")
	if err != nil || len(blocks) != 1 || blocks[0].name != "page, run: one" {
		t.Fatalf("%q, %v", blocks, err)
	}
	for output, want := range map[string]string{
		"zero\none\t 2 (kB)\nmore\nthree 3\n": "", "three\none 2 x\n": "three\n",
	} {
		if got := missing(output, blocks[0].want); got != want {
			t.Errorf("%q is missing in %q, want %q", got, output, want)
		}
	}
}
