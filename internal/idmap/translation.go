package idmap

import (
	"errors"
	"fmt"
	"slices"
)

// Kind tells what a translation does with an id.
type Kind uint8

// What becomes of an id.
const (
	// Moved is changed to another one.
	Moved Kind = iota
	// Done is one that the translation yields: it stays.
	Done
	// Unmapped is neither; it stays unless the translation squashes it.
	Unmapped
)

// Translation changes the ids of a file system. It is idempotent: no id that it yields is one that it changes. So it can be
// stopped anywhere and begun again.
type Translation struct {
	moves []move
	// keep are ids that stay although no move yields them: those that a later step yields.
	keep   []span
	squash *uint32
}

// move changes the ids of from to those of the same length from to on.
type move struct {
	from span
	to   uint32
}

func (m *move) isIdentity() bool { return m.from.first == m.to }

func (m *move) image() span { return span{m.to, m.from.size} }

// To is what becomes of an id.
func (t *Translation) To(id uint32) (uint32, Kind) {
	for i := range t.moves {
		m := &t.moves[i]
		if m.from.has(id) {
			if m.isIdentity() {
				return id, Done
			}
			return m.to + (id - m.from.first), Moved
		}
		if m.image().has(id) {
			return id, Done
		}
	}
	for _, s := range t.keep {
		if s.has(id) {
			return id, Done
		}
	}
	if t.squash != nil {
		return *t.squash, Unmapped
	}
	return id, Unmapped
}

// squashing is the translation that changes what is not mapped to one id, which it is to yield already.
func (t *Translation) squashing(id uint32) (*Translation, error) {
	if _, kind := t.To(id); kind != Done {
		return nil, fmt.Errorf("id %d, to which others are to be squashed, is none that is mapped to", id)
	}
	return &Translation{t.moves, t.keep, &id}, nil
}

// isIdempotent tells whether no id that is yielded is one that is changed.
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

// Step are the translations of uids and gids that are applied to a whole tree, before the next step begins.
type Step struct {
	UID, GID *Translation
}

// Seen knows which ids a tree has, 65536 at a time.
type Seen [1 << 16 / 64]uint64

// Add notes that an id was seen.
func (s *Seen) Add(id uint32) { s[id>>16/64] |= 1 << (id >> 16 % 64) }

// Merge adds what another has seen.
func (s *Seen) Merge(o *Seen) {
	for i := range s {
		s[i] |= o[i]
	}
}

// has tells whether an id of the 65536 may be there.
func (s *Seen) has(block uint32) bool { return s[block/64]>>(block%64)&1 != 0 }

// Change is from which maps to which the ids of a tree are to be changed. Without From they are the container's, or To's
// already; without To they are to be the container's.
type Change struct {
	From, To Pair
	// Park is where ids are parked, and 0 where they need not be: a step in between, if the ids before and after overlap.
	Park uint32
	// Squash is the container's id that ids become which are not mapped, if that is wanted.
	Squash *uint32
}

// FindPark finds the place where ids can be parked: one that neither map nor the tree uses. It is 0 if nothing need be
// parked.
func (c *Change) FindPark(seen *Seen) (uint32, error) {
	uid, gid := direct(c.From.UID, c.To.UID), direct(c.From.GID, c.To.GID)
	if uid.isIdempotent() && gid.isIdempotent() {
		return 0, nil
	}
	blocks := (max(uid.size(), gid.size()) + 1<<16 - 1) >> 16
	for first := int64(1<<16 - 1 - blocks); first > 0; first-- { // the last block has the id that is none
		free := true
		for b := first; b < first+blocks; b++ {
			free = free && !seen.has(uint32(b)) && !uid.uses(uint32(b)) && !gid.uses(uint32(b))
		}
		if free {
			return uint32(first) << 16, nil
		}
	}
	return 0, errors.New("the ids before and after overlap, and there is no free place to park them")
}

func (t *Translation) size() (n int64) {
	for _, m := range t.moves {
		n += int64(m.from.size)
	}
	return n
}

func (t *Translation) uses(block uint32) bool {
	s := span{block << 16, 1 << 16}
	return slices.ContainsFunc(t.moves, func(m move) bool { return m.from.overlaps(s) || m.image().overlaps(s) })
}

// direct changes ids in one step.
func direct(from, to Map) *Translation {
	t := new(Translation)
	for _, e := range from {
		if len(to) == 0 {
			t.moves = append(t.moves, move{e.hosts(), e.Container})
			continue
		}
		for _, other := range to {
			t.addJoined(e, other)
		}
	}
	for _, e := range to {
		t.moves = append(t.moves, move{e.containers(), e.Host})
	}
	return t
}

// addJoined changes what is mapped by one extent to what another maps the same ids of the container to.
func (t *Translation) addJoined(from, to Extent) {
	first := max(from.Container, to.Container)
	end := min(uint64(from.Container)+uint64(from.Size), uint64(to.Container)+uint64(to.Size))
	if uint64(first) < end {
		size := uint32(end - uint64(first))
		t.moves = append(t.moves, move{span{from.Host + (first - from.Container), size}, to.Host + (first - to.Container)})
	}
}

// Steps are the translations, one after the other, by which a tree is changed.
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

// Judge is a translation that knows what becomes of each id that may be there before the change, after it, and in between.
func (c *Change) Judge() Step {
	return Step{c.judge(c.From.UID, c.To.UID), c.judge(c.From.GID, c.To.GID)}
}

func (c *Change) judge(from, to Map) *Translation {
	t := direct(from, to)
	if c.Park != 0 {
		_, last := c.parked(t)
		t.moves = append(t.moves, last.moves...)
	}
	if c.Squash != nil {
		if squashing, err := c.squashing(t, to); err == nil { // else Steps fails
			return squashing
		}
	}
	return t
}

// parked are the two steps by which ids are changed over a place in between.
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
	last := direct(from, to)
	if c.Park != 0 {
		if c.Squash != nil {
			return nil, errSquashParked
		}
		if !c.canPark(last) {
			return nil, fmt.Errorf("ids cannot be parked from %d on", c.Park)
		}
		first, last := c.parked(last)
		return []*Translation{first, last}, nil
	}
	switch {
	case last.isIdempotent():
	case c.Squash != nil:
		return nil, errSquashParked
	default:
		return nil, errors.New("the ids before and after overlap")
	}
	if c.Squash == nil {
		return []*Translation{last}, nil
	}
	last, err := c.squashing(last, to)
	return []*Translation{last}, err
}

var errSquashParked = errors.New("ids cannot be squashed where those before and after overlap")

// squashing is the translation t to the map to that changes what is not mapped to the one id.
func (c *Change) squashing(t *Translation, to Map) (*Translation, error) {
	target, ok := *c.Squash, true
	if len(to) > 0 {
		target, ok = to.Host(target)
	}
	if !ok {
		return nil, fmt.Errorf("id %d of the container, to which others are to be squashed, is not mapped", *c.Squash)
	}
	return t.squashing(target)
}

// canPark tells whether the place in between has room for all ids that t changes, and is none of those that it changes or
// yields.
func (c *Change) canPark(t *Translation) bool {
	if int64(c.Park)+t.size() > Max+1 {
		return false
	}
	place := span{c.Park, uint32(t.size())}
	return !slices.ContainsFunc(t.moves, func(m move) bool { return m.from.overlaps(place) || m.image().overlaps(place) })
}
