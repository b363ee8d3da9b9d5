//go:build integration

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report is the story as a Markdown document, for people: what was done in each step, and what was seen.
type report struct {
	path, title, intro string
	steps              []*step
}

// step is one part of it.
type step struct {
	title, why string
	text       strings.Builder
	failures   int
	took       time.Duration
	ended      bool
}

// write writes the report as far as it is.
func (r *report) write() error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n| | step | result | seconds |\n| --- | --- | --- | --- |\n", r.title, r.intro)
	var all time.Duration
	for i, s := range r.steps {
		fmt.Fprintf(&b, "| %d | %s | %s | %.1f |\n", i+1, s.title, s.result(), s.took.Seconds())
		all += s.took
	}
	fmt.Fprintf(&b, "| | all | | %.1f |\n", all.Seconds())
	for i, s := range r.steps {
		fmt.Fprintf(&b, "\n## %d. %s\n\n%s\n\n%s\n**%s**, %.1f s\n", i+1, s.title, s.why, s.text.String(), s.result(), s.took.Seconds())
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path, []byte(b.String()), 0o644)
}

func (s *step) result() string {
	switch {
	case s.failures > 0:
		return "FAILED"
	case !s.ended:
		return "not ended"
	}
	return "passed"
}

// command notes a command, and what it has printed.
func (s *step) command(line, out string, err error, took time.Duration) {
	out = shorten(strings.TrimRight(out, "\n"), 30)
	slow := ""
	if took >= time.Second {
		slow = fmt.Sprintf("    # %.1f s", took.Seconds())
	}
	fmt.Fprintf(&s.text, "```console\n# %s%s\n", line, slow)
	if out != "" {
		fmt.Fprintln(&s.text, out)
	}
	if err != nil {
		fmt.Fprintf(&s.text, "[%v]\n", err)
	}
	s.text.WriteString("```\n\n")
}

// seen notes whether something was as it should be.
func (s *step) seen(ok bool, what string) {
	mark := "x"
	if !ok {
		s.failures++
		mark = " FAILED "
	}
	fmt.Fprintf(&s.text, "- [%s] %s\n\n", mark, strings.ReplaceAll(what, "\n", " "))
}

// shorten leaves out the middle of a text of many lines.
func shorten(text string, lines int) string {
	all := strings.Split(text, "\n")
	if len(all) <= lines {
		return text
	}
	all = append(append(all[:lines/2:lines/2], "..."), all[len(all)-lines/2:]...)
	return strings.Join(all, "\n")
}
