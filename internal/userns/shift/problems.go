package shift

import (
	"fmt"
	"strings"

	"palisade/internal/idmap"
)

// Problem is something that stands in the way, with what helps.
type Problem struct {
	Text   string `json:"problem"`
	Remedy string `json:"remedy"`
}

// Problems is the error for what stands in the way of a change. Nothing was changed.
type Problems []Problem

// Error has all problems in one line.
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

// list are the examples, and how many more there are.
func (x *examples) list() string {
	text := strings.Join(x.first, ", ")
	if more := x.count - uint64(len(x.first)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// problems are those that the census has found, under the policies that were chosen.
func (c *census) problems(o *Options, pair idmap.Pair) (p Problems) {
	if o.Unmapped == Fail {
		for i, kind := range []string{"uids", "gids"} {
			if c.unmapped[i].count > 0 {
				p.add(c.unmappedRemedy(pair), "%s that are not mapped: %s", kind, c.unmapped[i].list())
			}
		}
	}
	if o.Immutable == Fail && c.flagged.count > 0 {
		p.add("chattr -i -a, or --immutable=clear or skip", "files that are immutable or append-only: %s", c.flagged.list())
	}
	if o.HardLinks == Fail {
		if outside := c.linkedOutside(); outside.count > 0 {
			p.add("copy them, or --hardlinks=ignore to change the owner of the files outside, too",
				"files with names outside of the tree: %s", outside.list())
		}
	}
	if c.readOnly.count > 0 {
		p.add("btrfs property set DIR ro false, or delete them", "subvolumes that are read-only: %s", c.readOnly.list())
	}
	if c.roots.count > 0 {
		p.add("unshift these first, or, if the attribute came from an image, setfattr -x "+stateAttr,
			"directories that were shifted by themselves: %s", c.roots.list())
	}
	if c.missed.count > 0 {
		p.add("take them out of the tree until it is shifted",
			"files that a completed step did not change: %s", c.missed.list())
	}
	return p
}

// unmappedRemedy says what map would do for all ids.
func (c *census) unmappedRemedy(pair idmap.Pair) string {
	const others = "--unmapped=keep or squash=ID"
	if pair.IsZero() || len(pair.UID) != 1 || pair.UID[0].Container != 0 {
		return others
	}
	largest := max(c.unmapped[0].largest, c.unmapped[1].largest)
	if largest < 1<<16-1 {
		return fmt.Sprintf("an offset of at least %d, or %s", largest+1, others)
	}
	return "chown them, for no offset of --user-remap is large enough, or " + others
}

// linkedOutside returns files of which not all names were found, by one of their names.
func (c *census) linkedOutside() (x examples) {
	for _, l := range c.links {
		if l.found < l.all {
			x.addText(func() string {
				return fmt.Sprintf("%q (%d of %d names are inside)", l.dir.path(l.name), l.found, l.all)
			})
		}
	}
	return x
}
