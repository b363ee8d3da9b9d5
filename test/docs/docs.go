// Package docs checks the documents: every code block is executed, every link has a target, every
// named test exists. CONTRIBUTING.md describes the marks of code blocks.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Pages returns the paths of the documents below root. Man pages are not among them: they are
// generated from the programs' help.
func Pages(root string) (pages []string, err error) {
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/engines/*.md"} {
		found, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			return nil, err
		}
		pages = append(pages, found...)
	}
	return pages, nil
}

var (
	code    = regexp.MustCompile("(?m)`[^`\n]*`|^    .*")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// notInAnchors matches what forges remove from a heading to make its anchor.
	notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// DeadLinks returns the links of a page to files below root, or to headings in them, that do not
// exist.
func DeadLinks(root, page string) (dead []string, err error) {
	text, err := os.ReadFile(filepath.Join(root, page))
	for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
		if strings.Contains(found[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(found[1], "#")
		target := filepath.Join(root, page)
		if path != "" {
			target = filepath.Join(root, filepath.Dir(page), path)
		}
		text, err := os.ReadFile(target)
		if err != nil || anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
			dead = append(dead, page+": "+found[1])
		}
	}
	return dead, err
}

func anchors(text string) (anchors []string) {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		name := notInAnchors.ReplaceAllString(strings.ToLower(found[1]), "")
		anchors = append(anchors, strings.ReplaceAll(name, " ", "-"))
	}
	return anchors
}
