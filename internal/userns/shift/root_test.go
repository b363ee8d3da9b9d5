package shift

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// newTestTree creates a tree with files of many kinds in a directory that only root can search, and
// returns its path and options.
func newTestTree(t *testing.T) (root string, o Options) {
	t.Helper()
	requireRoot(t)
	base := t.TempDir()
	root = filepath.Join(base, "root")
	in := func(name string) string { return filepath.Join(root, name) }
	write := func(name string, mode uint32) error {
		return errors.Join(os.WriteFile(in(name), nil, 0o600), syscall.Chmod(in(name), mode))
	}
	err := errors.Join(os.Chmod(base, 0o700), os.Mkdir(root, 0o755), os.MkdirAll(in("d/e"), 0o700),
		write("plain", 0o644), write("d/set-uid", 0o4755), write("d/e/caps", 0o755),
		os.Link(in("plain"), in("d/linked")), os.Symlink("/none", in("link")),
		syscall.Mkfifo(in("fifo"), 0o600), write("acl", 0o640),
		os.Chown(in("plain"), 5, 6), os.Chown(in("d"), 1000, 1000),
		syscall.Setxattr(in("d/e/caps"), idattr.Caps, caps2(), 0),
		syscall.Setxattr(in("acl"), idattr.AccessACL, fullACL(7), 0))
	if err != nil {
		t.Fatal(err)
	}
	return root, Options{StateDir: filepath.Join(base, "state"), LockDir: filepath.Join(base, "lock"),
		Jobs: 2, LockTimeout: 1}
}

// fullACL returns a valid access control list with an entry for a user.
func fullACL(uid byte) []byte {
	entry := func(tag, id byte) []byte {
		if id == 0 {
			return []byte{tag, 0, 6, 0, 0xff, 0xff, 0xff, 0xff}
		}
		return []byte{tag, 0, 6, 0, id, 0, 0, 0}
	}
	list := []byte{2, 0, 0, 0}
	for _, e := range [][]byte{
		entry(0x01, 0), entry(0x02, uid), entry(0x04, 0), entry(0x10, 0), entry(0x20, 0),
	} {
		list = append(list, e...)
	}
	return list
}

// describe returns the owner, the mode and the attributes of each file of a tree.
func describe(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := sys.OpenPath(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := f.OpenPathAt(filepath.Base(path))
		if err != nil {
			return err
		}
		defer n.Close()
		i, err := n.Statx()
		names, err2 := n.AttrNames()
		text := fmt.Sprintf("%o %d:%d", i.Mode, i.UID, i.GID)
		for _, name := range names {
			value, err := n.Attr(name)
			err2 = errors.Join(err2, err)
			text += fmt.Sprintf(" %s=%x", name, value)
		}
		all[strings.TrimPrefix(path, root)] = text
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestThereAndBack shifts a tree, shifts it to other ids, and unshifts it: then each file is as
// before.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	root, o := newTestTree(t)
	before := describe(t, root)
	status := func(want Kind) {
		t.Helper()
		s, err := ReadStatus(t.Context(), root, idmap.Pair{}, o)
		if err != nil || s.Kind != want {
			t.Fatalf("status %+v, %v, want %s", s, err, want)
		}
	}
	status(IsNone)
	if _, err := Unshift(t.Context(), root, idmap.Pair{}, o); !errors.Is(err, errNotRecorded) {
		t.Errorf("unshift without a record: %v", err)
	}
	dry := o
	dry.DryRun = true
	r, err := Shift(t.Context(), root, testPair(), dry)
	if err != nil || r.Changed != r.Files || r.State != nil {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	if now := describe(t, root); now["/plain"] != before["/plain"] {
		t.Errorf("dry run: plain is %s, want %s", now["/plain"], before["/plain"])
	}
	var last Progress
	o.Progress = func(p Progress) { last = p }
	if r, err = Shift(t.Context(), root, testPair(), o); err != nil || r.Changed != r.Files {
		t.Fatalf("%+v, %v", r, err)
	}
	if last.Pass != "shift" || last.Total != r.Files || last.Done == 0 {
		t.Errorf("the last progress is %+v", last)
	}
	status(IsShifted)
	now := describe(t, root)
	for name, want := range map[string]string{
		"/plain": "100644 100005:100006", "/d/linked": "100644 100005:100006",
		"/link": "120777 100000:100000", "/d/set-uid": "104755 100000:100000",
		"/d/e/caps": fmt.Sprintf("100755 100000:100000 security.capability=%x", caps3(100000)),
	} {
		if now[name] != want {
			t.Errorf("%s is %s, want %s", name, now[name], want)
		}
	}
	if s, err := Recorded(root, o); err != nil || !s.Change.To.Equal(testPair()) {
		t.Errorf("recorded: %+v, %v", s, err)
	}
	if files, p, err := Verify(t.Context(), root, o); err != nil || files != r.Files-1 ||
		!p.Equal(testPair()) {
		t.Errorf("verify: %d files, %s, %v", files, p, err)
	}
	if err := os.Chown(filepath.Join(root, "acl"), 3, 3); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`: 1 of %d files do not match 100000:100000:65535: "acl"`, r.Files-1)
	if _, _, err := Verify(t.Context(), root, o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("verify a wrong file: %v, want %s", err, want)
	}
	if err := os.Chown(filepath.Join(root, "acl"), 100000, 100000); err != nil {
		t.Fatal(err)
	}
	other := idmap.Remap{UID: 100500, GID: 200000, Offset: 65535}.Pair() // overlaps with the first
	if r, err = Shift(t.Context(), root, other, o); err != nil || r.Changed != r.Files {
		t.Fatalf("to other ids: %+v, %v", r, err)
	}
	if _, err := Unshift(t.Context(), root, testPair(), o); err == nil ||
		!strings.Contains(err.Error(), "the recorded change is") {
		t.Errorf("unshift from other ids: %v", err)
	}
	if r, err = Unshift(t.Context(), root, idmap.Pair{}, o); err != nil || len(r.Warnings) != 1 {
		t.Fatalf("unshift: %+v, %v", r, err)
	}
	status(IsNone)
	for name, text := range describe(t, root) {
		if text != before[name] {
			t.Errorf("%q is %s, want %s", name, text, before[name])
		}
	}
}

// TestInterrupted cancels a shift in its second pass, and then completes it or takes it back.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		root, o := newTestTree(t)
		before := describe(t, root)
		ctx, cancel := context.WithCancel(t.Context())
		state, err := interrupt(ctx, cancel, t, root, o)
		if err != nil || state != IsPartial {
			t.Fatalf("%s, %v", state, err)
		}
		if info, err := os.Stat(root); err != nil || info.Mode().Perm() != closedMode {
			t.Errorf("the root directory has mode %v, %v", info.Mode(), err)
		}
		if _, _, err := Verify(t.Context(), root, o); err == nil {
			t.Error("a partial tree is verified")
		}
		if _, err := Shift(t.Context(), root, idmap.Remap{UID: 7, GID: 7, Offset: 9}.Pair(),
			o); err == nil || !strings.Contains(err.Error(), "was interrupted") {
			t.Errorf("shift to other ids: %v", err)
		}
		if !back {
			if r, err := Shift(t.Context(), root, testPair(), o); err != nil || r.Changed == 0 {
				t.Fatalf("resumed: %+v, %v", r, err)
			}
		}
		if _, err := Unshift(t.Context(), root, idmap.Pair{}, o); err != nil {
			t.Fatal(err)
		}
		for name, text := range describe(t, root) {
			if text != before[name] {
				t.Errorf("%q is %s, want %s", name, text, before[name])
			}
		}
	}
}

// interrupt begins a shift and cancels it before files are changed, and returns the status then.
func interrupt(
	ctx context.Context, cancel func(), t *testing.T, root string, o Options,
) (Kind, error) {
	t.Helper()
	o.setDefaults()
	tr, err := open(root, &o)
	if err != nil {
		return "", err
	}
	defer tr.close()
	c, err := newTestChanger(t, tr, &o)
	if err != nil {
		return "", err
	}
	if err := c.preflight(ctx); err != nil {
		return "", err
	}
	cancel()
	if err := c.apply(ctx); !errors.Is(err, ErrPartial) || !errors.Is(err, errInterrupted) {
		return "", fmt.Errorf("interrupted: %w", err)
	}
	s, err := ReadStatus(t.Context(), root, idmap.Pair{}, o)
	return s.Kind, err
}

// TestRefused covers trees that are not changed, each for a problem.
func TestRefused(t *testing.T) {
	t.Parallel()
	flag := func(root string, flags uint32) error {
		f, err := sys.OpenDir(filepath.Join(root, "d"))
		if err != nil {
			return err
		}
		defer f.Close()
		return f.SetFlags(flags)
	}
	for name, tt := range map[string]struct {
		prepare func(root string, o *Options) error
		want    string
	}{
		"unmapped": {func(root string, _ *Options) error {
			return os.Chown(filepath.Join(root, "plain"), 70000, 70001)
		}, "uids that are not mapped: 70000 of"},
		"unmapped in an access control list": {func(root string, o *Options) error {
			o.Unmapped = Fail
			list := fullACL(1)
			copy(list[4+8+4:], []byte{0x40, 0x0d, 3, 0}) // 200000
			return syscall.Setxattr(filepath.Join(root, "acl"), idattr.AccessACL, list, 0)
		}, `200000 of "acl"`},
		"linked outside": {func(root string, _ *Options) error {
			return os.Link(filepath.Join(root, "plain"), root+"-link")
		}, `"d/linked" (2 of 3 names are inside)`},
		"immutable": {func(root string, _ *Options) error { return flag(root, 0x10) },
			`immutable or append-only: "d"`},
		"a closed root directory": {func(root string, _ *Options) error {
			return errors.Join(os.Chmod(root, closedMode),
				os.Chown(filepath.Join(root, "fifo"), 100001, 100001))
		}, "looks like a shift that was interrupted"},
		"shifted below": {func(root string, o *Options) error {
			below := filepath.Join(root, "d/e")
			_, err := Shift(context.Background(), below, testPair(), *o)
			return err
		}, `shifted by themselves: "d/e"`},
	} {
		t.Run(name, func(t *testing.T) {
			root, o := newTestTree(t)
			t.Cleanup(func() { flag(root, 0) })
			if err := tt.prepare(root, &o); err != nil {
				t.Fatal(err)
			}
			_, err := Shift(t.Context(), root, testPair(), o)
			var problems Problems
			if !errors.As(err, &problems) || !containsProblem(problems, tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			checked, err := Check(t.Context(), root, testPair(), o)
			if err != nil || name != "a closed root directory" && !containsProblem(checked, tt.want) {
				t.Errorf("check: %v, %v, want %s", checked, err, tt.want)
			}
		})
	}
}

// containsProblem reports whether a problem has a text, whichever of several names it names.
func containsProblem(problems Problems, want string) bool {
	for _, p := range problems {
		if strings.Contains(p.Text, want) ||
			strings.Contains(p.Text, strings.Replace(want, "d/linked", "plain", 1)) {
			return true
		}
	}
	return false
}

// TestPolicies changes trees with problems, as the options allow.
func TestPolicies(t *testing.T) {
	t.Parallel()
	root, o := newTestTree(t)
	plain := filepath.Join(root, "plain")
	acl := filepath.Join(root, "acl")
	setFlags := func(flags uint32) {
		t.Helper()
		d, err := sys.OpenDir(root)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		f, err := d.OpenPathAt("acl")
		if err == nil {
			err = errors.Join(f.SetFlags(flags), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(plain, 70000, 70000), os.Link(plain, root+"-link")); err != nil {
		t.Fatal(err)
	}
	setFlags(0x20) // append-only
	t.Cleanup(func() { setFlags(0) })
	o.Unmapped, o.HardLinks, o.Immutable = Keep, Ignore, Skip
	r, err := Shift(t.Context(), root, testPair(), o)
	if err != nil || len(r.Warnings) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if text := describe(t, root)["/acl"]; !strings.HasPrefix(text, "100666 0:0") &&
		!strings.HasPrefix(text, "100660 0:0") {
		t.Errorf("the skipped file is %s", text)
	}
	o.Unmapped, o.SquashTo, o.Immutable = Squash, 9, Clear
	if r, err = Shift(t.Context(), root, testPair(), o); err != nil || r.Changed == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	now := describe(t, root)
	if text := now["/acl"]; !strings.Contains(text, "100000:100000") {
		t.Errorf("acl is %s", text)
	}
	i, err := sys.Stat(acl)
	if err != nil || i.Number == 0 {
		t.Fatal(err)
	}
	if err := os.Remove(acl); err == nil {
		t.Error("the append-only file can be removed: its flags are lost")
	}
	if text := now["/plain"]; !strings.Contains(text, "100009:100009") {
		t.Errorf("plain is %s", text)
	}
}

func TestCheckLinks(t *testing.T) {
	t.Parallel()
	root, o := newTestTree(t)
	check := func() error {
		d, err := sys.OpenDir(root)
		if err != nil {
			return err
		}
		defer d.Close()
		return CheckLinks(t.Context(), d, o)
	}
	if err := check(); err != nil {
		t.Error(err)
	}
	if err := os.Link(filepath.Join(root, "plain"), root+"-link"); err != nil {
		t.Fatal(err)
	}
	if err := check(); err == nil || !strings.Contains(err.Error(), "2 of 3 names are inside") {
		t.Error(err)
	}
	o.HardLinks = Ignore
	if err := check(); err != nil {
		t.Error(err)
	}
}

func TestClosedAncestors(t *testing.T) {
	t.Parallel()
	root, _ := newTestTree(t)
	base := filepath.Dir(root)
	problems, err := ClosedAncestors(root, testPair(), true)
	if err != nil || !containsProblem(problems, "may not search "+base+" (mode 0700)") ||
		containsProblem(problems, "may not search "+root+" ") {
		t.Fatalf("%v, %v", problems, err)
	}
	for _, open := range []func() error{
		func() error { return os.Chmod(base, 0o711) },
		func() error { return errors.Join(os.Chmod(base, 0o700), os.Chown(base, 100000, 0)) },
		func() error { return errors.Join(os.Chmod(base, 0o010), os.Chown(base, 0, 100000)) },
		func() error { // rwx for the owner, x for a user, nothing for others
			list := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" +
				"\x02\x00\x01\x00\xa0\x86\x01\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" +
				"\x10\x00\x01\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
			return errors.Join(os.Chown(base, 0, 0),
				syscall.Setxattr(base, idattr.AccessACL, []byte(list), 0))
		},
	} {
		if err := open(); err != nil {
			t.Fatal(err)
		}
		problems, err := ClosedAncestors(root, testPair(), false)
		if err != nil || containsProblem(problems, "may not search "+base+" ") {
			t.Errorf("%v, %v", problems, err)
		}
	}
}

// TestUnshiftReachable checks that an unshift makes no program of the container a privileged
// program that other users of the host can execute.
func TestUnshiftReachable(t *testing.T) {
	t.Parallel()
	root, o := newTestTree(t)
	if _, err := Shift(t.Context(), root, testPair(), o); err != nil {
		t.Fatal(err)
	}
	base := filepath.Dir(root)
	for dir := base; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Unshift(t.Context(), root, idmap.Pair{}, o)
	if err == nil || !strings.Contains(err.Error(), "would become the host's") {
		t.Errorf("reachable: %v", err)
	}
	v2 := o
	v2.Caps = CapsV2
	if _, err := Shift(t.Context(), root, testPair(), v2); err == nil ||
		!strings.Contains(err.Error(), "--caps v2") {
		t.Errorf("caps v2: %v", err)
	}
	o.DropSetID = true
	if _, err := Unshift(t.Context(), root, idmap.Pair{}, o); err != nil {
		t.Fatal(err)
	}
	now := describe(t, root)
	if now["/d/set-uid"] != "100755 0:0" || now["/d/e/caps"] != "100755 0:0" {
		t.Errorf("programs are %s, %s", now["/d/set-uid"], now["/d/e/caps"])
	}
}

func TestSystemDirs(t *testing.T) {
	requireRoot(t)
	for _, path := range []string{"/", "/usr", "/proc"} {
		_, err := Shift(t.Context(), path, testPair(), Options{DryRun: true,
			StateDir: t.TempDir(), LockDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "is a directory of the system") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
