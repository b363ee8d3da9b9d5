package shift

import (
	"fmt"
	"strings"

	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
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

// examples are files with something in common.
type examples struct{ walk.Examples }

func (x *examples) add(f *file) { x.Add(f.quoted) }

func (x *examples) list() string { return x.List(", ", " and ") }
