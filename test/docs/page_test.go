package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const repository = "../.."

// block is a code block that is executed.
type block struct {
	name   string // "PAGE:LINE" of its mark
	script string
	want   string // lines that the script prints, in this order
}

var (
	marked = regexp.MustCompile(`(?m)^<!-- (run: [a-z0-9-]+|fails: [a-z0-9-]+|file: /\S+|shows|` +
		`shows rows|text|not run: \S.{10,}) -->\n\n((?:\n*    .*\n)+)\n*`)
	unmarked = regexp.MustCompile("(?m)^(<!-- |```|\n    ).*")
	indent   = regexp.MustCompile(`(?m)^    `)
	// results matches the lines of output below a command.
	results = regexp.MustCompile(`(?m)^[^#\n].*\n((?:# .*\n)+)`)
	// values matches all but the first column of a table, and rules.
	values = regexp.MustCompile(`(?m)(  .*|^-+)$`)
)

// parse returns the blocks of a page that are executed. It is an error if a block has no mark, or a
// mark no block.
func parse(page, text string) (blocks []block, err error) {
	if found := unmarked.FindString(marked.ReplaceAllString(text, "")); found != "" {
		return nil, fmt.Errorf("%s: %q: want a mark, and a block of four spaces", page, found)
	}
	for _, at := range marked.FindAllStringSubmatchIndex(text, -1) {
		mark, file, _ := strings.Cut(text[at[2]:at[3]], ": ")
		code := indent.ReplaceAllString(text[at[4]:at[5]], "")
		b := block{name: fmt.Sprintf("%s:%d", page, strings.Count(text[:at[0]], "\n")+1), script: code}
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
		case "shows rows":
			code = values.ReplaceAllString(code, "")
			fallthrough
		case "shows":
			if len(blocks) == 0 {
				return nil, fmt.Errorf("%s: no block is executed before it", b.name)
			}
			blocks[len(blocks)-1].want += code
			continue
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

// readPages returns the texts of all pages by path.
func readPages(t *testing.T) map[string]string {
	t.Helper()
	pages, err := Pages(repository)
	if err != nil || len(pages) < 12 {
		t.Fatalf("pages: %q, %v", pages, err)
	}
	texts := make(map[string]string)
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(repository, page))
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(text)
	}
	return texts
}

// TestMarks checks that every block has a mark, and that few are not executed.
func TestMarks(t *testing.T) {
	run, notRun := 0, 0
	for page, text := range readPages(t) {
		blocks, err := parse(page, text)
		if err != nil {
			t.Error(err)
		}
		run, notRun = run+len(blocks), notRun+strings.Count(text, "\n<!-- not run: ")
	}
	if notRun*10 > run {
		t.Errorf("%d blocks are executed, %d are not", run, notRun)
	}
}

// TestLinks checks that each link has a target, and that another page links to each page.
func TestLinks(t *testing.T) {
	pages := readPages(t)
	for page := range pages {
		if dead, err := DeadLinks(repository, page); err != nil || len(dead) > 0 {
			t.Errorf("dead links: %q, %v", dead, err)
		}
		linked := page == "README.md"
		for other, text := range pages {
			path, err := filepath.Rel(filepath.Dir(other), page)
			if err != nil {
				t.Fatal(err)
			}
			to := regexp.MustCompile(`\]\(` + regexp.QuoteMeta(path) + `[)#]`)
			linked = linked || other != page && to.MatchString(text)
		}
		if !linked {
			t.Errorf("no page links to %s", page)
		}
	}
}

// TestNamedTests checks that the tests exist that the pages name.
func TestNamedTests(t *testing.T) {
	grep := exec.Command("grep", "-rhoE", "--include=*_test.go", `^func Test\w+\(`, repository)
	tests, err := grep.Output()
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for page, text := range readPages(t) {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(text, -1) {
			if named++; !strings.Contains(string(tests), "func "+name+"(") {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("the pages name %d tests", named)
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{
		"text\n\n    echo\n", "<!-- run: one -->\n\ntext\n", "<!-- not run: no -->\n\n    x\n",
		"<!-- text -->\n<!-- text -->\n\n    x\n", "```\nx\n```\n", "<!-- shows -->\n\n    x\n",
	} {
		if blocks, err := parse("page", text); err == nil {
			t.Errorf("%q: %q, want an error", text, blocks)
		}
	}
	blocks, err := parse("page", "text\n\n<!-- run: one -->\n\n    cat x # 1\n    # one   2 ...\n"+
		"    # three\n\n    # four\n")
	if err != nil || len(blocks) != 1 || blocks[0].name != "page:3" {
		t.Fatalf("%q, %v", blocks, err)
	}
	if got := missing("zero\none\t 2 (kB)\nmore\nthree 3\n", blocks[0].want); got != "" {
		t.Errorf("%q is missing", got)
	}
	if got := missing("three\none 2 x\n", blocks[0].want); got != "three\n" {
		t.Errorf("%q is missing, want three", got)
	}
}
