// Package docs holds the documents to what they say: every block of code in them is marked, and executed by a test, or says why it is
// not; every link leads somewhere. CONTRIBUTING.md tells how blocks are marked.
package docs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind tells what becomes of a block.
type Kind int

const (
	// Run is executed by a shell, in the order of the page.
	Run Kind = iota
	// Fails is too, and has to fail.
	Fails
	// File is written to a file.
	File
	// Shows is what the block before prints.
	Shows
	// Rows is the same, of which the first column alone is compared.
	Rows
	// Text is no command: a picture, a form, a part of a file.
	Text
	// NotRun is a command that the test does not execute.
	NotRun
)

// Block is a block of code in a page.
type Block struct {
	Kind Kind
	// Arg is the name of what is run, the path of a file, the reason why something is not run.
	Arg string
	// Line is where the block begins.
	Line int
	Text string
}

// marks are how the kinds are written in a comment before the block.
var marks = []struct {
	kind    Kind
	pattern *regexp.Regexp
}{
	{Run, regexp.MustCompile(`^run: ([a-z0-9-]+)$`)},
	{Fails, regexp.MustCompile(`^fails: ([a-z0-9-]+)$`)},
	{File, regexp.MustCompile(`^file: (/\S+)$`)},
	{Shows, regexp.MustCompile(`^(shows)$`)},
	{Rows, regexp.MustCompile(`^(shows rows)$`)},
	{Text, regexp.MustCompile(`^(text)$`)},
	{NotRun, regexp.MustCompile(`^not run: (\S.{10,})$`)},
}

// parseMark reads a line that is a mark, if it is one.
func parseMark(line string) (b Block, ok bool) {
	comment, ok := strings.CutPrefix(line, "<!-- ")
	if !ok {
		return Block{}, false
	}
	comment, ok = strings.CutSuffix(comment, " -->")
	if !ok {
		return Block{}, false
	}
	for _, m := range marks {
		if found := m.pattern.FindStringSubmatch(comment); found != nil {
			return Block{Kind: m.kind, Arg: found[1]}, true
		}
	}
	return Block{}, false
}

// Blocks are the blocks of code in a page, which are indented by four blanks after an empty line. One without a mark, and a mark without
// a block, is an error.
func Blocks(path string) (blocks []Block, err error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var mark *Block
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if found, ok := parseMark(line); ok {
			if mark != nil {
				return nil, fmt.Errorf("%s:%d: a mark follows another", path, i+1)
			}
			mark = &found
			continue
		}
		switch {
		case line == "":
		case strings.HasPrefix(line, "```"):
			return nil, fmt.Errorf("%s:%d: blocks are indented by four blanks, not fenced", path, i+1)
		case strings.HasPrefix(line, "    ") && (i == 0 || lines[i-1] == ""):
			if mark == nil {
				return nil, fmt.Errorf("%s:%d: a block has no mark", path, i+1)
			}
			mark.Line = i + 1
			mark.Text, i = takeBlock(lines, i)
			blocks, mark = append(blocks, *mark), nil
		case strings.HasPrefix(line, "<!-- "):
			return nil, fmt.Errorf("%s:%d: %s is no mark that is known", path, i+1, line)
		case mark != nil:
			return nil, fmt.Errorf("%s:%d: a mark has no block", path, i+1)
		}
	}
	return blocks, nil
}

// takeBlock reads a block from a line on, and tells its last line.
func takeBlock(lines []string, i int) (text string, last int) {
	var b strings.Builder
	for last = i; i < len(lines) && (lines[i] == "" || strings.HasPrefix(lines[i], "    ")); i++ {
		if lines[i] != "" {
			for ; last < i-1; last++ {
				b.WriteString("\n")
			}
			b.WriteString(lines[i][4:] + "\n")
			last = i
		}
	}
	return b.String(), last
}

// Expected are the lines of a block that is run which say what a command prints: those of comments right after a command.
func (b Block) Expected() (want []string) {
	after := false
	for line := range strings.Lines(b.Text) {
		line = strings.TrimSuffix(line, "\n")
		comment, ok := strings.CutPrefix(line, "# ")
		if ok && after {
			want = append(want, comment)
			continue
		}
		after = line != "" && !strings.HasPrefix(line, "#")
	}
	return want
}

// Prints reports whether lines are in an output, in their order. Blanks are blanks, however many, and "..." is any text.
func Prints(output string, want []string) (missing string) {
	for _, line := range want {
		var words []string
		for _, word := range strings.Fields(line) {
			words = append(words, strings.ReplaceAll(regexp.QuoteMeta(word), `\.\.\.`, ".*"))
		}
		found := regexp.MustCompile(`(?m)` + strings.Join(words, `[ \t]+`)).FindStringIndex(output)
		if found == nil {
			return line
		}
		output = output[found[1]:]
	}
	return ""
}

// FirstColumn cuts lines at the first gap of two blanks, and leaves rules out.
func FirstColumn(text string) (cells []string) {
	for line := range strings.Lines(text) {
		cell, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if cell != "" && strings.Trim(cell, "-") != "" {
			cells = append(cells, cell)
		}
	}
	return cells
}

// Repository is the directory that has the documents.
const Repository = "../.."

// Pages are the documents, by their paths in a directory that has them all. Man pages are made of the programs' own help, and held to it elsewhere.
func Pages(root string) (pages []string, err error) {
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/engines/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			pages = append(pages, name)
		}
	}
	return pages, nil
}

func readLines(path string) (lines []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); ; {
		if !scanner.Scan() {
			return lines, scanner.Err()
		}
		lines = append(lines, scanner.Text())
	}
}
