//go:build integration

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report is a Markdown document with the commands and checks of each step.
type report struct {
	path, title, intro string
	steps              []*step
}

// step is a section of the report.
type step struct {
	title, why string
	text       strings.Builder
	failures   int
	took       time.Duration
	ended      bool
}

// write writes the report on the steps so far.
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

// command records a command and its output.
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

// seen records the result of a check.
func (s *step) seen(ok bool, what string) {
	mark := "x"
	if !ok {
		s.failures++
		mark = " FAILED "
	}
	fmt.Fprintf(&s.text, "- [%s] %s\n\n", mark, strings.ReplaceAll(what, "\n", " "))
}

// shorten drops the middle of a text with more than the given number of lines.
func shorten(text string, lines int) string {
	all := strings.Split(text, "\n")
	if len(all) <= lines {
		return text
	}
	all = append(append(all[:lines/2:lines/2], "..."), all[len(all)-lines/2:]...)
	return strings.Join(all, "\n")
}
