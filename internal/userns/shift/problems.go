package shift

import (
	"fmt"
	"strings"

	"palisade/internal/oci/idmap"
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

// list returns the examples, and how many more there are.
func (x *examples) list() string {
	text := strings.Join(x.first, ", ")
	if more := x.count - uint64(len(x.first)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// problems returns the problems that the scan has found, under the policies of o. pair is the map
// to shift to.
func (s *scan) problems(o *Options, pair idmap.Pair) (p Problems) {
	addIf := func(x *examples, text, remedy string) {
		if x.count > 0 {
			p.add(remedy, "%s: %s", text, x.list())
		}
	}
	if o.Unmapped == Fail {
		remedy := s.unmappedRemedy(pair)
		addIf(&s.unmapped[0].examples, "uids that are not mapped", remedy)
		addIf(&s.unmapped[1].examples, "gids that are not mapped", remedy)
	}
	if o.Immutable == Fail {
		addIf(&s.flagged, "files that are immutable or append-only",
			"chattr -i -a, or --immutable=clear or skip")
	}
	if o.HardLinks == Fail {
		outside := s.linkedOutside()
		addIf(&outside, "files with names outside the tree",
			"copy them, or --hardlinks=ignore to change the owner of the files outside, too")
	}
	addIf(&s.readOnly, "subvolumes that are read-only",
		"btrfs property set DIR ro false, or delete them")
	addIf(&s.nested, "directories that were shifted by themselves",
		"unshift these first, or, if the attribute came from an image, setfattr -x "+
			journal.StateAttr)
	addIf(&s.missed, "files that a completed step did not change",
		"take them out of the tree until it is shifted")
	return p
}

// unmappedRemedy returns the remedy for unmapped ids.
func (s *scan) unmappedRemedy(pair idmap.Pair) string {
	const others = "--unmapped=keep or squash=ID"
	if pair.IsZero() || len(pair.UID) != 1 || pair.UID[0].Container != 0 {
		return others
	}
	largest := max(s.unmapped[0].largest, s.unmapped[1].largest)
	if largest < idmap.MaxOffset {
		return fmt.Sprintf("an offset of at least %d, or %s", largest+1, others)
	}
	return "chown them, since no offset of --user-remap is large enough, or " + others
}

// linkedOutside returns files of which not all names were found, by one of their names.
func (s *scan) linkedOutside() (x examples) {
	for _, l := range s.links {
		if l.found < l.all {
			x.addText(func() string {
				return fmt.Sprintf("%q (%d of %d names are inside)",
					l.dir.Path(l.name), l.found, l.all)
			})
		}
	}
	return x
}
