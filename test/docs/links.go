package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code    = regexp.MustCompile("`[^`]*`")
	heading = regexp.MustCompile(`^#+ (.*)$`)
)

// DeadLinks are the links of a page, in a directory with all pages, that lead to no file there, or to no heading of a page.
func DeadLinks(root, page string) (dead []string, err error) {
	lines, err := readLines(filepath.Join(root, page))
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(found[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if err := checkTarget(filepath.Join(root, target), anchor); err != nil {
				dead = append(dead, fmt.Sprintf("%s:%d: %s: %v", page, i+1, found[1], err))
			}
		}
	}
	return dead, nil
}

func checkTarget(target, anchor string) error {
	if _, err := os.Stat(target); err != nil {
		return err
	}
	if anchor == "" {
		return nil
	}
	lines, err := readLines(target)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if found := heading.FindStringSubmatch(line); found != nil && Anchor(found[1]) == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s has no heading #%s", target, anchor)
}

// notInAnchors is what forges leave out of the anchor of a heading.
var notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)

// Anchor is the fragment by which a heading is linked.
func Anchor(heading string) string {
	return strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
