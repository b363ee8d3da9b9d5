//go:build integration

package userns

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mountPair creates a tree with the container's ids, and an empty directory to mount it on.
func mountPair(t *testing.T, dir string) (src, dst string) {
	t.Helper()
	src, dst = filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	build(t, src, true, []item{directory(".", 0o755, 0, 0), directory("d", 0o755, 0, 0),
		file("d/f", 0o644, 0, 5), file("d/user", 0o600, 1000, 1000)})
	if err := os.Mkdir(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	return src, dst
}

// TestMount checks idmapped mounts on each file system, which show the tree shifted and change
// nothing on the disk, and the error and the fallback where they are unsupported.
func TestMount(t *testing.T) {
	onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
		src, dst := mountPair(t, dir)
		before := takeDump(t, src, true)
		r := call(t, "mount", "--user-remap", remap, src, dst)
		if !f.hasAttrs || inVM() { // ramfs, and tmpfs before Linux 6.3
			checkRefused(t, r, 1, "idmapped mounts are not possible here", "mount_setattr MOUNT_ATTR_IDMAP")
			r = must(t, "mount", "--fallback", "shift", "--user-remap", remap, src, dst)
			if !strings.Contains(r.stderr, "shifting instead") {
				t.Errorf("no warning: %+v", r)
			}
			checkSeen(t, dst)
			checkSeen(t, src)
			if err := unix.Unmount(dst, 0); err != nil {
				t.Error(err)
			}
			return
		}
		if r.code != 0 {
			t.Fatalf("%+v", r)
		}
		checkSeen(t, dst)
		checkDump(t, "on the disk", takeDump(t, src, true), before)
		// Files of the container's root belong to root on the disk; the host's root cannot create any.
		if err := os.WriteFile(filepath.Join(dst, "new"), nil, 0o600); !errors.Is(err, unix.EOVERFLOW) {
			t.Errorf("create a file as the host's root: %v, want EOVERFLOW", err)
		}
		checkRefused(t, call(t, "mount", "--user-remap", remap, dst, dst), 1, "mount_setattr")
		checkRefused(t, call(t, "shift", "--user-remap", remap, dst), 1, "seen through an idmapped mount")
		must(t, "umount", dst)
		checkRefused(t, call(t, "umount", dst), 1, "nothing is mounted there")
	})
}

// checkSeen checks that a tree of mountPair is seen with the host's ids.
func checkSeen(t *testing.T, dir string) {
	t.Helper()
	for path, want := range map[string][2]uint32{".": {100000, 100000}, "d/f": {100000, 100005},
		"d/user": {101000, 101000}} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, path), &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s/%s belongs to %d:%d, want %v", dir, path, st.Uid, st.Gid, want)
		}
	}
}

// TestMountRefused checks that trees that cannot or must not be idmapped are refused.
func TestMountRefused(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	src, dst := mountPair(t, dir)
	shifted := filepath.Join(dir, "shifted")
	build(t, shifted, true, []item{directory(".", 0o755, 0, 0), file("f", 0o644, 0, 0)})
	shiftTree(t, shifted)
	unrecorded := filepath.Join(dir, "unrecorded") // as after an update from an earlier release
	build(t, unrecorded, true, []item{directory(".", 0o755, 100000, 100000)})
	link := filepath.Join(dir, "link")
	if err := os.Symlink(src, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"mount", "--user-remap", remap, "/proc/sys", dst}, 1,
			"idmapped mounts are not possible here"},
		{[]string{"mount", "--user-remap", remap, shifted, dst}, 1,
			"its ids cannot be mapped as well (userns-shift unshift"},
		{[]string{"mount", "--user-remap", remap, unrecorded, dst}, 1,
			"without a record: its ids cannot be mapped as well"},
		{[]string{"mount", "--user-remap", remap, link, dst}, 1, "not a directory"},
		{[]string{"mount", "--user-remap", remap, src, filepath.Join(dir, "absent")}, 1,
			"no such file or directory"},
		{[]string{"mount", "--user-remap", remap, src}, 2, "want SRC and DST, not 1 arguments"},
		{[]string{"mount", src, dst}, 2, "the maps are missing"},
		{[]string{"mount", "--fallback", "copy", "--user-remap", remap, src, dst}, 2,
			`--fallback "copy" is none of none, shift`},
		{[]string{"umount", src}, 1, "nothing is mounted there"},
		{[]string{"umount", filepath.Join(dir, "absent")}, 1, "no such file or directory"},
		{[]string{"umount"}, 2, "want DST, not 0 arguments"},
		{[]string{"umount", named("tmpfs").dir}, 1, "mount is not idmapped"},
	} {
		checkRefused(t, call(t, tt.args...), tt.code, tt.want)
	}
	openToAll(t, dir)
	if !inVM() { // its kernel has no such mounts
		checkRefused(t, call(t, "mount", "--user-remap", remap, src, dst), 1, ": chmod 0700 "+dir)
	}
	r := must(t, "mount", "--fallback", "shift", "--user-remap", remap, src, dst)
	if !strings.Contains(r.stderr, "shifting instead") {
		t.Errorf("no warning: %+v", r)
	}
	checkSeen(t, src)
	if err := unix.Unmount(dst, 0); err != nil {
		t.Error(err)
	}
	if r := must(t, "mount", "--user-remap", "0:0:65535", src, dst); !strings.Contains(r.stdout,
		"has no effect") {
		t.Errorf("a map without effect: %+v", r)
	}
}

// TestMountOnOldKernels checks mount without the system calls of Linux 5.2 and 5.12.
func TestMountOnOldKernels(t *testing.T) {
	for name, calls := range map[string][]int{
		"4.19": {unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_OPENAT2, unix.SYS_MOUNT_SETATTR},
		"5.10": {unix.SYS_MOUNT_SETATTR},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := mountPair(t, named("tmpfs").newDir(t))
			checkRefused(t, callWithout(t, calls, "mount", "--user-remap", remap, src, dst), 1,
				"idmapped mounts are not possible here")
			if r := callWithout(t, calls, "mount", "--fallback", "shift", "--user-remap", remap, src,
				dst); r.code != 0 {
				t.Fatalf("%+v", r)
			}
			checkSeen(t, dst)
			if err := unix.Unmount(dst, 0); err != nil {
				t.Error(err)
			}
		})
	}
}
