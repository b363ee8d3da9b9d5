package shift

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// swapper is a visitor that calls a function after the names in a directory were read and before
// its files are changed.
type swapper struct {
	walk.Visitor
	inDir string
	swap  func() error
	once  sync.Once
}

func (v *swapper) Visit(
	thread *sys.Thread, d *walk.Dir, name sys.Name, isDir bool,
) (bool, error) {
	if d.Parent != nil && d.Name.String() == v.inDir {
		var err error
		if v.once.Do(func() { err = v.swap() }); err != nil {
			return false, err
		}
	}
	return v.Visitor.Visit(thread, d, name, isDir)
}

// swapped holds the directories of a test: two in a tree (in, other), and one outside.
type swapped struct{ in, other, outside string }

const swappedFiles = 20

// each calls a function for the files of each number, and joins the errors.
func each(do func(name string) error) (err error) {
	for n := range swappedFiles {
		err = errors.Join(err, do(fmt.Sprintf("f%d", n)))
	}
	return err
}

// linkIn replaces the files in the tree with hard links to files outside.
func (s *swapped) linkIn() error {
	return each(func(name string) error {
		path := filepath.Join(s.in, name)
		return errors.Join(os.Remove(path), os.Link(filepath.Join(s.outside, "f0"), path))
	})
}

// linkOut adds hard links outside to the files in the tree.
func (s *swapped) linkOut() error {
	return each(func(name string) error {
		return os.Link(filepath.Join(s.in, name), filepath.Join(s.outside, "new-"+name))
	})
}

// TestSwap changes a directory after its files were scanned: no file outside may get another
// owner or mode, and swapped files are reported.
func TestSwap(t *testing.T) {
	requireRoot(t)
	for _, tt := range []struct {
		name string
		// mode is the mode of the files in the tree; hasLinks gives each a second name there.
		mode      uint32
		hasLinks  bool
		hardLinks Policy
		swap      func(s *swapped) error
		want      error
	}{
		{"linked in", 0o644, false, Fail, (*swapped).linkIn, errNew},
		{"linked in, links are ignored", 0o644, false, Ignore, (*swapped).linkIn, errNew},
		{"linked in for a set-id program", 0o4755, false, Fail, (*swapped).linkIn, errNew},
		{"linked in for one of several names", 0o644, true, Fail, (*swapped).linkIn, errNew},
		{"moved in", 0o644, false, Fail, func(s *swapped) error {
			return each(func(name string) error {
				return os.Rename(filepath.Join(s.outside, name), filepath.Join(s.in, name))
			})
		}, errNew},
		{"linked out", 0o644, false, Fail, (*swapped).linkOut, errLinked},
		{"a set-id program linked out", 0o4755, false, Fail, (*swapped).linkOut, errLinked},
		{"linked out from one of several names", 0o644, true, Fail, (*swapped).linkOut, errLinked},
		{"made", 0o644, false, Fail, func(s *swapped) error {
			return each(func(name string) error {
				path := filepath.Join(s.in, name)
				return errors.Join(os.Rename(path, path+"-old"), os.WriteFile(path, nil, 0o644))
			})
		}, errNew},
		{"exchanged for one with capabilities", 0o644, false, Fail, func(s *swapped) error {
			return each(func(name string) error {
				path, other := filepath.Join(s.in, name), filepath.Join(s.other, name)
				return errors.Join(os.Rename(path, path+"-old"), os.Rename(other, path),
					os.Rename(path+"-old", other))
			})
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			root := filepath.Join(base, "root")
			s := &swapped{root + "/in", root + "/other", filepath.Join(base, "outside")}
			err := errors.Join(os.MkdirAll(s.in, 0o755), os.MkdirAll(s.other, 0o755),
				os.MkdirAll(s.outside, 0o755),
				each(func(name string) error { return s.create(name, tt.mode, tt.hasLinks) }))
			if err != nil {
				t.Fatal(err)
			}
			outside := make(map[string]sys.Inode)
			if err := each(func(name string) error { return lookAt(s.outside, name, outside) }); err != nil {
				t.Fatal(err)
			}
			o := Options{HardLinks: tt.hardLinks, StateDir: filepath.Join(base, "state")}
			err = s.shift(t, root, tt.swap, o)
			// Failures of single files are reported as text.
			if (err == nil) != (tt.want == nil) ||
				err != nil && !strings.Contains(err.Error(), tt.want.Error()) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			for _, dir := range []string{s.in, s.outside} {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if err := s.check(dir, e.Name(), outside); err != nil {
						t.Error(err)
					}
				}
			}
			if tt.want != nil {
				return
			}
			err = each(func(name string) error { return hasCaps(filepath.Join(s.in, name)) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// create creates the files of a number.
func (s *swapped) create(name string, mode uint32, hasLinks bool) error {
	in, other := filepath.Join(s.in, name), filepath.Join(s.other, name)
	outside := filepath.Join(s.outside, name)
	err := errors.Join(os.WriteFile(in, nil, 0o600), syscall.Chmod(in, mode),
		os.WriteFile(outside, nil, 0o600), syscall.Chmod(outside, 0o4755),
		os.WriteFile(other, nil, 0o755), syscall.Setxattr(other, idattr.Caps, caps2(), 0))
	if hasLinks {
		err = errors.Join(err, os.Link(in, other+"-linked"))
	}
	return err
}

// lookAt stores the attributes of a file in all, by name.
func lookAt(dir, name string, all map[string]sys.Inode) error {
	d, err := sys.OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var i sys.Inode
	err = d.StatxAt(sys.NewName(name), &i)
	all[name] = i
	return err
}

// check checks that a file outside has kept its owner and mode.
func (s *swapped) check(dir, name string, outside map[string]sys.Inode) error {
	now := make(map[string]sys.Inode)
	if err := lookAt(dir, name, now); err != nil {
		return err
	}
	i := now[name]
	for _, was := range outside {
		if walk.KeyOf(&was) == walk.KeyOf(&i) &&
			(i.UID != was.UID || i.GID != was.GID || i.Mode != was.Mode) {
			return fmt.Errorf("%s/%s was outside: %+v, want %+v", dir, name, i, was)
		}
	}
	if dir == s.outside && i.UID != 0 {
		return fmt.Errorf("%s/%s has owner %d", dir, name, i.UID)
	}
	return nil
}

// hasCaps fails unless a file has capabilities of a container.
func hasCaps(path string) error {
	buf := make([]byte, 64)
	if n, err := syscall.Getxattr(path, idattr.Caps, buf); err != nil || n != 24 {
		return fmt.Errorf("%s has capabilities %x, %v", path, buf[:max(n, 0)], err)
	}
	return nil
}

// shift scans a tree whose files have settled, and shifts it while one of its directories is
// swapped.
func (s *swapped) shift(t *testing.T, root string, swap func(*swapped) error, o Options) error {
	t.Helper()
	o.Jobs = 1
	tr, err := open(root, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	c, err := newTestChanger(t, tr, &o)
	if err != nil {
		t.Fatal(err)
	}
	for now := sys.Now(); now.Until(sys.Now()) < 2*settleTime; {
		time.Sleep(time.Millisecond) // until the kernel's clock has advanced
	}
	if err := errors.Join(c.preflight(t.Context()), c.begin()); err != nil {
		t.Fatal(err)
	}
	steps, err := c.state.Change.Steps()
	if err != nil {
		t.Fatal(err)
	}
	mover := &mover{changer: c, rules: c.rules(steps[0]), progress: startCounter("shift", 0, nil)}
	v := &swapper{Visitor: mover, inDir: "in", swap: func() error { return swap(s) }}
	return c.walk(t.Context(), []walk.Visitor{v})
}

// newTestChanger returns a changer for a shift to testPair.
func newTestChanger(t *testing.T, tr *tree, o *Options) (*changer, error) {
	t.Helper()
	change := idmap.Change{To: testPair()}
	state := &journal.State{Phase: journal.Shifting, Change: change}
	return &changer{tree: tr, o: o, state: state}, tr.openView()
}

// TestTrust checks that Options.Trust does not accept a forged state, nor the state of a tree
// that was replaced after the shift.
func TestTrust(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	root := filepath.Join(base, "root")
	o := Options{Trust: true,
		StateDir: filepath.Join(base, "state"), LockDir: filepath.Join(base, "lock")}
	if err := os.MkdirAll(filepath.Join(root, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	const text = `{"version":1,"phase":"shifted",` +
		`"to-uids":"0:100000:65535","to-gids":"0:100000:65535"}`
	if err := syscall.Setxattr(root, journal.StateAttr, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
	for n, want := range []uint64{2, 0, 1} {
		if n == 2 {
			if err := os.Chown(root, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Shift(t.Context(), root, testPair(), o)
		if err != nil || r.Changed != want {
			t.Errorf("round %d: %+v, %v, want %d", n, r, err, want)
		}
	}
}

// TestLinkedMeanwhile adds a link to a file between the scan and the chown: the file must get
// its owner back.
func TestLinkedMeanwhile(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	path := filepath.Join(base, "f")
	d, err := sys.OpenDir(base)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := openInode(&file{dir: &walk.Dir{File: d}, name: sys.NewName("f")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	if err := n.chown(5, 5); err != nil || n.UID != 5 {
		t.Fatalf("%v, owner %d", err, n.UID)
	}
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	err = n.chown(100005, 100005)
	if err2 := n.look(); !errors.Is(err, errLinked) || err2 != nil || n.UID != 5 || n.GID != 5 {
		t.Errorf("%v, %v, owner %d:%d", err, err2, n.UID, n.GID)
	}
}
