package idmount

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
)

func TestViews(t *testing.T) {
	at := location{
		mount: &mountinfo.Info{Major: 8, Minor: 1, Root: "/", Mountpoint: "/"},
		host:  "/srv/c/rootfs", inner: "/srv/c/rootfs",
	}
	for _, tt := range []struct {
		name  string
		mount mountinfo.Info
		want  string // empty if the mount does not show the directory
		part  bool
	}{
		{"the whole", mountinfo.Info{Major: 8, Minor: 1, Root: "/", Mountpoint: "/mnt"},
			"/mnt/srv/c/rootfs", false},
		{"above", mountinfo.Info{Major: 8, Minor: 1, Root: "/srv", Mountpoint: "/a"}, "/a/c/rootfs",
			false},
		{"itself", mountinfo.Info{Major: 8, Minor: 1, Root: "/srv/c/rootfs", Mountpoint: "/b"}, "/b",
			false},
		{"below", mountinfo.Info{Major: 8, Minor: 1, Root: "/srv/c/rootfs/bin", Mountpoint: "/c"}, "/c",
			true},
		{"beside", mountinfo.Info{Major: 8, Minor: 1, Root: "/srv/c/rootfs2", Mountpoint: "/d"}, "",
			false},
		{"a prefix of the name", mountinfo.Info{Major: 8, Minor: 1, Root: "/srv/c/root",
			Mountpoint: "/d"}, "", false},
		{"another file system", mountinfo.Info{Major: 8, Minor: 2, Root: "/", Mountpoint: "/e"}, "",
			false},
	} {
		got := at.views([]*mountinfo.Info{&tt.mount})
		if tt.want == "" && len(got) == 0 {
			continue
		}
		if want := (view{&tt.mount, tt.want, tt.part}); !slices.Equal(got, []view{want}) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
}

func TestOptionPaths(t *testing.T) {
	const options = "rw,lowerdir=/l1:/l2,lowerdir+=/l3,upperdir=/u,workdir=/w,index=off"
	if got := OptionPaths(options, "lowerdir"); !slices.Equal(got, []string{"/l1", "/l2", "/l3"}) {
		t.Errorf("lower layers: %q", got)
	}
	if got := OptionPaths(options, "upperdir", "workdir"); !slices.Equal(got, []string{"/u", "/w"}) {
		t.Errorf("upper layer: %q", got)
	}
	const escaped = `ro,lowerdir=/a\040b:/c\134:d:/e\134\054f,upperdir=/g:h\040i,uuid=on`
	want := []string{"/a b", "/c:d", "/e,f", "/g:h i"}
	if got := OptionPaths(escaped, "lowerdir", "upperdir"); !slices.Equal(got, want) {
		t.Errorf("escaped: %q, want %q", got, want)
	}
}

func TestIsClosed(t *testing.T) {
	for _, tt := range []struct {
		mode, uid uint32
		want      bool
	}{
		{0o700, 0, true}, {0o744, 0, true}, {0o500, 0, true}, {0o710, 0, false}, {0o701, 0, false},
		{0o755, 0, false}, {0o700, 1000, false}, {0o000, 0, true},
	} {
		if got := isClosed(&sys.Inode{Mode: tt.mode, UID: tt.uid}); got != tt.want {
			t.Errorf("mode %o of uid %d: %v", tt.mode, tt.uid, got)
		}
	}
}

// TestOpenPrivateMissing covers paths that lead to no directory.
func TestOpenPrivateMissing(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "absent"), link, "/proc/self/exe"} {
		err := CheckPrivate(path, IgnoreLinks)
		var reachable *ReachableError
		if err == nil || errors.As(err, &reachable) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestIsCovered(t *testing.T) {
	root := &mountinfo.Info{ID: 1, Parent: 0, Mountpoint: "/"}
	srv := &mountinfo.Info{ID: 2, Parent: 1, Mountpoint: "/srv"}
	deep := &mountinfo.Info{ID: 3, Parent: 1, Mountpoint: "/data/a/b"}
	inner := &mountinfo.Info{ID: 4, Parent: 2, Mountpoint: "/srv/c"}
	over := &mountinfo.Info{ID: 5, Parent: 1, Mountpoint: "/data/a"}
	table := []*mountinfo.Info{root, srv, deep, inner, over}
	for _, tt := range []struct {
		mount *mountinfo.Info
		path  string
		want  bool
	}{
		{root, "/x/rootfs", false},
		{root, "/srv/rootfs", true},
		{root, "/srv", true},
		{root, "/srv2/rootfs", false},
		{srv, "/srv/rootfs", false},
		{srv, "/srv/c/rootfs", true},
		{inner, "/srv/c/rootfs", false},
		{deep, "/data/a/b/rootfs", true}, // by what was mounted above it later
		{over, "/data/a/b/rootfs", false},
	} {
		if got := (view{mount: tt.mount, path: tt.path}).isCovered(table); got != tt.want {
			t.Errorf("mount %d, %s: %v, want %v", tt.mount.ID, tt.path, got, tt.want)
		}
	}
}

// TestMovedViews covers paths that do not lead where they should by the mount table, although no
// mount hides them: another user has moved a directory above, and counts as one who can reach it.
func TestMovedViews(t *testing.T) {
	path := t.TempDir()
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		move func(*location)
	}{
		{"missing", func(at *location) { at.inner += "/missing" }},
		{"another directory", func(at *location) { at.inode.Number++ }},
	} {
		at, err := locate(dir, table)
		if err != nil {
			t.Fatal(err)
		}
		if at.inode, err = dir.Statx(); err != nil {
			t.Fatal(err)
		}
		tt.move(&at)
		if err := at.checkViews("/", table, false); !errors.Is(err, errMoved) {
			t.Errorf("%s: %v, want %v", tt.name, err, errMoved)
		}
		if err := at.checkViews("/", table, true); err == nil {
			t.Errorf("%s: private in the end", tt.name)
		}
	}
}
