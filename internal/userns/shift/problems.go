package shift

import (
	"fmt"
	"strings"

	"palisade/internal/userns/journal"
)

// Problem is a reason why a tree cannot be changed, or used by a container.
type Problem struct {
	Text   string `json:"problem"`
	Remedy string `json:"remedy"`
}

// Problems is the error of Shift and Unshift if they have found problems and changed nothing.
type Problems []Problem

// Error returns all problems in one line.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, problem := range p {
		texts[i] = fmt.Sprintf("%s (%s)", problem.Text, problem.Remedy)
	}
	return "nothing was changed: " + strings.Join(texts, "; ")
}

func (p *Problems) add(remedy, text string, args ...any) {
	*p = append(*p, Problem{fmt.Sprintf(text, args...), remedy})
}

// refuse returns err, or p as an error unless it is empty.
func refuse(p Problems, err error) error {
	if err == nil && len(p) > 0 {
		return p
	}
	return err
}

// claimProblems returns a problem if the tree of the claim may be half shifted.
func claimProblems(c *journal.Claim) (p Problems) {
	if c.MayBePartial() {
		p.add("finish it on the host, and with the release, that started it; or, if the record came "+
			"from an image, "+c.EraseCommand, "the tree may be half shifted: %s", c)
	}
	return p
}

// maxExamples limits the files that a message names.
const maxExamples = 5

// examples counts files with something in common, and names the first ones.
type examples struct {
	count uint64
	first []string
}

func (x *examples) add(f *file) { x.addText(f.quoted) }

func (x *examples) addText(text func() string) {
	if x.count++; len(x.first) < maxExamples {
		x.first = append(x.first, text())
	}
}

// list returns the examples, and how many more there are.
func (x *examples) list() string {
	text := strings.Join(x.first, ", ")
	if more := x.count - uint64(len(x.first)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
