package idmap

import (
	"errors"
	"fmt"
	"slices"
)

// Kind classifies an id for a translation.
type Kind uint8

const (
	// Moved ids become others.
	Moved Kind = iota
	// Done ids are results of the translation, and stay.
	Done
	// Unmapped ids are neither. They stay unless the translation squashes them.
	Unmapped
)

// Translation changes the ids of a file system. It is idempotent, since it changes none of its
// results, so it can be stopped at any point and started again.
type Translation struct {
	moves []move
	// keep holds ids that stay although they are no results: a later step produces them.
	keep   []span
	squash *uint32
}

// move changes the ids in from to as many ids starting with to.
type move struct {
	from span
	to   uint32
}

func (m *move) isIdentity() bool { return m.from.first == m.to }

func (m *move) image() span { return span{m.to, m.from.size} }

func (m *move) touches(s span) bool { return m.from.overlaps(s) || m.image().overlaps(s) }

// To returns the new id of an id, and the id's kind.
func (t *Translation) To(id uint32) (uint32, Kind) {
	for i := range t.moves {
		m := &t.moves[i]
		if m.from.has(id) && !m.isIdentity() {
			return m.to + (id - m.from.first), Moved
		}
		if m.image().has(id) {
			return id, Done
		}
	}
	if slices.ContainsFunc(t.keep, func(s span) bool { return s.has(id) }) {
		return id, Done
	}
	if t.squash != nil {
		return *t.squash, Unmapped
	}
	return id, Unmapped
}

// isIdempotent reports whether no result is an id that is changed.
func (t *Translation) isIdempotent() bool {
	for _, a := range t.moves {
		for _, b := range t.moves {
			if !a.isIdentity() && a.from.overlaps(b.image()) {
				return false
			}
		}
	}
	return true
}

func (t *Translation) size() (n int64) {
	for _, m := range t.moves {
		n += int64(m.from.size)
	}
	return n
}

func (t *Translation) touches(s span) bool {
	return slices.ContainsFunc(t.moves, func(m move) bool { return m.touches(s) })
}

// Step holds the translations that are applied to a whole tree before the next step begins.
type Step struct {
	UID, GID *Translation
}

// IDBlocks is a set of ids with a resolution of 65536.
type IDBlocks [1 << 16 / 64]uint64

// Add adds the block of an id.
func (s *IDBlocks) Add(id uint32) { s[id>>16/64] |= 1 << (id >> 16 % 64) }

func (s *IDBlocks) has(block uint32) bool { return s[block/64]>>(block%64)&1 != 0 }

// Change is a change of the ids of a tree from one pair of maps to another. Without From, the tree
// has the container's ids, or those of To already; without To, it gets the container's.
type Change struct {
	From, To Pair
	// Park is the first id of an intermediate range that is used if the ids before and after
	// overlap, else 0.
	Park uint32
	// Squash, if not nil, is the container's id that replaces unmapped ids.
	Squash *uint32
}

// FindPark returns a value for Park: the start of a range that neither the maps nor the tree use,
// or 0 if none is needed.
func (c *Change) FindPark(used *IDBlocks) (uint32, error) {
	uid, gid := direct(c.From.UID, c.To.UID), direct(c.From.GID, c.To.GID)
	if uid.isIdempotent() && gid.isIdempotent() {
		return 0, nil
	}
	blocks := (max(uid.size(), gid.size()) + 1<<16 - 1) >> 16
	// The last block is excluded: it contains 2^32-1, which is no id.
	for first := int64(1<<16 - 1 - blocks); first > 0; first-- {
		free := true
		for b := uint32(first); b < uint32(first+blocks); b++ {
			s := span{b << 16, 1 << 16}
			free = free && !used.has(b) && !uid.touches(s) && !gid.touches(s)
		}
		if free {
			return uint32(first) << 16, nil
		}
	}
	return 0, errors.New("the ids before and after overlap, and no range is free to park them")
}

// direct returns the translation between two maps in one step.
func direct(from, to Map) *Translation {
	t := new(Translation)
	for _, e := range from {
		if len(to) == 0 {
			t.moves = append(t.moves, move{e.hosts(), e.Container})
			continue
		}
		for _, other := range to {
			t.addComposed(e, other)
		}
	}
	for _, e := range to {
		t.moves = append(t.moves, move{e.containers(), e.Host})
	}
	return t
}

// addComposed adds a move from the host's ids of one extent to those of the other, for the
// container's ids that both map.
func (t *Translation) addComposed(from, to Extent) {
	first := max(from.Container, to.Container)
	end := min(uint64(from.Container)+uint64(from.Size), uint64(to.Container)+uint64(to.Size))
	if uint64(first) < end {
		s := span{from.Host + (first - from.Container), uint32(end - uint64(first))}
		t.moves = append(t.moves, move{s, to.Host + (first - to.Container)})
	}
}

// Steps returns the steps of the change, in order.
func (c *Change) Steps() ([]Step, error) {
	uids, err := c.steps(c.From.UID, c.To.UID)
	if err != nil {
		return nil, err
	}
	gids, err := c.steps(c.From.GID, c.To.GID)
	if err != nil {
		return nil, err
	}
	steps := make([]Step, len(uids))
	for i := range steps {
		steps[i] = Step{uids[i], gids[i]}
	}
	return steps, nil
}

// Total returns a translation from all ids that may exist before or during the change to the final
// ones.
func (c *Change) Total() Step {
	return Step{c.total(c.From.UID, c.To.UID), c.total(c.From.GID, c.To.GID)}
}

func (c *Change) total(from, to Map) *Translation {
	t := direct(from, to)
	if c.Park != 0 {
		_, last := c.parked(t)
		t.moves = append(t.moves, last.moves...)
	}
	c.squash(t, to) // if it fails, Steps fails
	return t
}

// parked splits a translation into two steps, to the intermediate range and from there.
func (c *Change) parked(t *Translation) (first, last *Translation) {
	first, last = new(Translation), new(Translation)
	park := c.Park
	for _, m := range t.moves {
		first.moves = append(first.moves, move{m.from, park})
		first.keep = append(first.keep, m.image())
		last.moves = append(last.moves, move{span{park, m.from.size}, m.to})
		park += m.from.size
	}
	return first, last
}

func (c *Change) steps(from, to Map) ([]*Translation, error) {
	t := direct(from, to)
	if c.Park == 0 && t.isIdempotent() {
		return []*Translation{t}, c.squash(t, to)
	}
	switch {
	case c.Squash != nil:
		return nil, errors.New("ids cannot be squashed if the ids before and after overlap")
	case c.Park == 0:
		return nil, errors.New("the ids before and after overlap")
	case !c.canPark(t):
		return nil, fmt.Errorf("ids cannot be parked from %d on", c.Park)
	}
	first, last := c.parked(t)
	return []*Translation{first, last}, nil
}

// squash makes t change unmapped ids to Squash, unless that is nil.
func (c *Change) squash(t *Translation, to Map) error {
	if c.Squash == nil {
		return nil
	}
	target, ok := *c.Squash, true
	if len(to) > 0 {
		target, ok = to.Host(target)
	}
	if !ok {
		return fmt.Errorf("squash to id %d of the container: it is not mapped", *c.Squash)
	}
	if _, kind := t.To(target); kind != Done {
		return fmt.Errorf("squash to id %d: no id is mapped to it", target)
	}
	t.squash = &target
	return nil
}

// canPark reports whether the intermediate range has room for all ids that t changes, and contains
// none of them and no result.
func (c *Change) canPark(t *Translation) bool {
	size := t.size()
	return int64(c.Park)+size <= Max+1 && !t.touches(span{c.Park, uint32(size)})
}
