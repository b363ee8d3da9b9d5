package shift

import (
	"fmt"
	"sync"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// scan holds the results of a scan of all files, which several workers add.
type scan struct {
	mu sync.Mutex
	// began is the time at which the scan began.
	began sys.Time
	// files counts all files, toChange those to change.
	files, toChange uint64
	ids             idmap.IDBlocks
	unmapped        [2]unmapped // uids, gids
	links           map[walk.InodeKey]links
	// inodes are those of all files, special those of files that were opened for their attributes.
	inodes, special inodeSet
	// flagged are immutable or append-only files to change, privileged those with set-id bits or
	// capabilities that become others.
	flagged, privileged examples
	// nested are root directories of other shifted trees, readOnly read-only subvolumes.
	nested, readOnly examples
	// below counts the files other than the root directory whose uid is still to be changed (before),
	// and those whose uid is final (after).
	below struct{ before, after uint64 }
	// missed are files with ids that a completed step should have changed, untrusted those with a
	// record that is not trusted.
	missed, untrusted examples
	// wrong are the files to change, and those with unmapped ids, by each of their names.
	wrong examples
	// hasLow and hasHigh report that there are owners below 65536, and others.
	hasLow, hasHigh bool
}

// links counts the names of a file that were found, all that it has, and those found that are among
// the wrong files. One of them is name, in the directory dir.
type links struct {
	found, all, wrong uint32
	dir               *walk.Dir
	name              string
}

func (s *scan) addLink(i *sys.Inode, d *walk.Dir, name sys.Name, wrong bool) {
	key := walk.KeyOf(i)
	l, ok := s.links[key]
	if !ok {
		l = links{all: i.Links, dir: d, name: name.String()}
	}
	l.found++
	if wrong {
		l.wrong++
	}
	s.links[key] = l
}

// unmapped are files with ids that a map lacks.
type unmapped struct {
	examples
	// largest is the largest of the ids, as the container sees them.
	largest uint32
}

// add adds an id of a file; from maps the ids of the tree.
func (u *unmapped) add(id uint32, from idmap.Map, f *file) {
	u.enlarge(id, from)
	u.Add(func() string { return fmt.Sprintf("%d of %s", id, f.quoted()) })
}

func (u *unmapped) enlarge(id uint32, from idmap.Map) {
	if container, ok := from.ToContainer(id); ok {
		id = container
	}
	u.largest = max(u.largest, id)
}

func newScan() *scan {
	return &scan{began: sys.Now(), links: make(map[walk.InodeKey]links), inodes: make(inodeSet),
		special: make(inodeSet)}
}

// problems returns the problems that the scan has found, under the policies of o. pair is the map
// to shift to.
func (s *scan) problems(o *Options, pair idmap.Pair) (p Problems) {
	addIf := func(x *examples, text, remedy string) {
		if x.Count > 0 {
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
			x.Add(func() string {
				return fmt.Sprintf("%q (%d of %d names are inside)",
					l.dir.Path(l.name), l.found, l.all)
			})
		}
	}
	return x
}

// inodeSet is a set of inodes. It stores the bits of 64 consecutive numbers in one word, since most
// file systems assign inode numbers consecutively: a set of a million inodes takes less than 1 MiB.
type inodeSet map[walk.InodeKey]uint64

// place returns the word and the bit of an inode.
func place(key walk.InodeKey) (word walk.InodeKey, bit uint64) {
	return walk.InodeKey{FileSystem: key.FileSystem, Number: key.Number / 64}, 1 << (key.Number % 64)
}

func (s inodeSet) add(key walk.InodeKey) {
	word, bit := place(key)
	s[word] |= bit
}

func (s inodeSet) has(key walk.InodeKey) bool {
	word, bit := place(key)
	return s[word]&bit != 0
}
