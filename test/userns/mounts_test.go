//go:build integration

package userns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// TestMountsInside checks that mounts in the tree, even of the same file system, are not shifted,
// and that the files that they hide are.
func TestMountsInside(t *testing.T) {
	onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
		root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
		build(t, root, f.hasAttrs, []item{
			directory(".", 0o755, 0, 0), directory("same", 0o755, 0, 0), file("same/hidden", 0o4755, 0, 0),
			directory("dev", 0o755, 0, 0),
			file("dev/hidden", 0o644, 0, 0), directory("proc", 0o755, 0, 0), directory("sys", 0o755, 0, 0),
			file("hosts", 0o644, 0, 0),
		})
		build(t, outside, f.hasAttrs, []item{directory(".", 0o755, 0, 0), file("suid", 0o4755, 0, 0),
			file("hosts", 0o644, 0, 0)})
		before := takeDump(t, outside, true)
		hidden, err := os.Open(filepath.Join(root, "same"))
		if err != nil {
			t.Fatal(err)
		}
		defer hidden.Close()
		mount(t, outside, filepath.Join(root, "same"), "", unix.MS_BIND, "")
		mount(t, filepath.Join(outside, "hosts"), filepath.Join(root, "hosts"), "", unix.MS_BIND, "")
		mount(t, "tmpfs", filepath.Join(root, "dev"), "tmpfs", 0, "mode=755")
		build(t, filepath.Join(root, "dev"), true, []item{file("null", 0o666, 0, 0)})
		inDev := takeDump(t, filepath.Join(root, "dev"), true)
		mount(t, "proc", filepath.Join(root, "proc"), "proc", 0, "")
		mount(t, "sysfs", filepath.Join(root, "sys"), "sysfs", unix.MS_RDONLY, "")
		shiftTree(t, root)
		checkDump(t, "outside", takeDump(t, outside, true), before)
		checkDump(t, "in dev", takeDump(t, filepath.Join(root, "dev"), true), inDev)
		var st unix.Stat_t
		if err := unix.Fstat(int(hidden.Fd()), &st); err != nil || st.Uid != 100000 {
			t.Errorf("the hidden directory belongs to %d, %v", st.Uid, err)
		}
		if err := unix.Fstatat(int(hidden.Fd()), "hidden", &st, 0); err != nil || st.Uid != 100000 ||
			st.Mode != unix.S_IFREG|0o4755 {
			t.Errorf("the hidden file belongs to %d, mode %o, %v", st.Uid, st.Mode, err)
		}
	})
}

func remountReadOnly(t *testing.T, target string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("", target, "", flags|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

// TestReadOnly checks that a read-only file system is refused, and a read-only mount is not.
func TestReadOnly(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root, seen := filepath.Join(dir, "root"), filepath.Join(dir, "seen")
	build(t, root, true, small())
	if err := os.Mkdir(seen, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, root, seen, "", unix.MS_BIND, "")
	remountReadOnly(t, seen, unix.MS_BIND)
	before := takeDump(t, root, false)
	shiftTree(t, seen)
	if got := takeDump(t, root, false); !strings.Contains(got["bin/suid"],
		"mode 104755 owner 100000:100000") {
		t.Errorf("got bin/suid %s, want it shifted", got["bin/suid"])
	}
	must(t, "unshift", seen)
	checkDump(t, "shifted back", takeDump(t, root, false), before)
	// Before Linux 5.12 the clone of a mount cannot be made writable.
	r := callWithout(t, []int{unix.SYS_MOUNT_SETATTR}, "shift", "--user-remap", remap, seen)
	checkRefused(t, r, 1, "nothing was changed", "is read-only", "remount,bind,rw")

	whole := filepath.Join(dir, "whole")
	if err := os.Mkdir(whole, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", whole, "tmpfs", 0, "")
	build(t, whole, true, []item{directory("root", 0o755, 0, 0), file("root/f", 0o644, 0, 0)})
	remountReadOnly(t, whole, 0)
	checkRefused(t, call(t, "shift", "--user-remap", remap, filepath.Join(whole, "root")), 1,
		"nothing was changed", "file system", "read-only", "remount,rw")
}

// TestOverlay checks that an overlay is refused without --allow-copyup, and so are layers of a
// mounted one.
func TestOverlay(t *testing.T) {
	for _, options := range []string{"", ",metacopy=on"} {
		t.Run(options, func(t *testing.T) {
			dir := named("tmpfs").newDir(t)
			merged, lower, upper := filepath.Join(dir, "merged"), filepath.Join(dir, "lower"),
				filepath.Join(dir, "upper")
			items := []item{
				directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7), directory("bin", 0o755, 0, 0),
				file("bin/suid", 0o4755, 0, 0),
				file("bin/all", 0o6750, 1, 1).with(accessName, acl(33, 65534, 7, 5)).with(capsName, caps2()),
				symlink("link", "/etc/passwd", 0, 0),
			}
			build(t, lower, true, items)
			for _, d := range []string{merged, upper, filepath.Join(dir, "work")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			mount(t, "overlay", merged, "overlay", 0,
				fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s%s", lower, upper, filepath.Join(dir, "work"),
					options))
			inLower := takeDump(t, lower, true)
			for _, layer := range []string{lower, upper, filepath.Join(lower, "bin"), dir} {
				checkRefused(t, call(t, "shift", "--user-remap", remap, layer), 1, "nothing was changed",
					"a layer of the overlay on "+merged, "unmount it")
			}
			checkRefused(t, call(t, "shift", "--user-remap", remap, merged), 1, "nothing was changed",
				"overlay", "--allow-copyup")
			checkDump(t, "refused", takeDump(t, lower, true), inLower)
			want := filepath.Join(dir, "want")
			build(t, want, true, shifted(items))
			must(t, "shift", "--user-remap", remap, "--allow-copyup", merged)
			got := takeDump(t, merged, false).withoutState(t, merged)
			wanted := takeDump(t, want, false)
			// Sizes and links of directories are the overlay's.
			for _, name := range []string{".", "bin"} {
				got[name], wanted[name] = ownerOf(got[name]), ownerOf(wanted[name])
			}
			checkDump(t, "shifted", got, wanted)
			checkDump(t, "the lower layer", takeDump(t, lower, true), inLower)
			must(t, "unshift", "--allow-copyup", merged)
			if got := takeDump(t, merged, false); !strings.Contains(got["bin/suid"],
				"mode 104755 owner 0:0") {
				t.Errorf("shifted back: %s", got["bin/suid"])
			}
		})
	}
}

// ownerOf returns the mode and owner in a line of a dump.
func ownerOf(line string) string {
	before, _, _ := strings.Cut(line, " links ")
	return before
}

// TestRunningContainer checks that the root directory of a process or container is refused without
// --force.
func TestRunningContainer(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(t.Context(), rootfs); err != nil {
		t.Fatal(err)
	}
	c, err := ctr.Start(t.Context(), dir, ctr.Options{Rootfs: rootfs})
	if err != nil {
		t.Fatal(err)
	}
	removed := false
	t.Cleanup(func() {
		if !removed {
			c.Remove() // fails if the test has not removed it
		}
	})
	checkRefused(t, call(t, "shift", "--user-remap", remap, rootfs), 1, "nothing was changed",
		"the root of processes: ", fmt.Sprint(c.PID), "stop the container")
	if removed = true; c.Remove() != nil {
		t.Fatal("the container is not removed")
	}
	line := role("root", rootfs)
	cmd := exec.Command(line[0], line[1:]...)
	if _, err := cmd.StdinPipe(); err != nil { // exits at the end of its input
		t.Fatal(err)
	}
	ctr.StartReady(t, cmd)
	checkRefused(t, call(t, "shift", "--user-remap", remap, rootfs), 1, "nothing was changed",
		fmt.Sprint(cmd.Process.Pid))
	must(t, "shift", "--user-remap", remap, "--force", rootfs)
}

// TestWhiteouts checks that the whiteouts in an upper layer are skipped: the overlay links them to
// one inode, which also has a name in its work directory.
func TestWhiteouts(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root := filepath.Join(dir, "upper")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7)})
	first := filepath.Join(dir, "whiteout")
	if err := unix.Mknod(first, unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone", "gone2"} {
		if err := os.Link(first, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	plain, before := takeDump(t, root, false), takeDump(t, root, true)
	must(t, "shift", "--user-remap", remap, root)
	must(t, "verify", root)
	after := takeDump(t, root, true)
	for _, name := range []string{"gone", "gone2"} {
		if after[name] != before[name] {
			t.Errorf("whiteout %s is changed: %s, before %s", name, after[name], before[name])
		}
	}
	if !strings.Contains(after["plain"], "owner 100007:100007") {
		t.Errorf("plain: %s", after["plain"])
	}
	must(t, "unshift", root)
	checkDump(t, "unshifted", takeDump(t, root, false), plain)
}

// TestOverlayCrash checks that on an overlay with layers on two file systems, where a copied-up
// file gets a new inode number, a shift that was killed at any system call gives the same result
// when resumed, and a second one changes nothing, even after the overlay is mounted again.
func TestOverlayCrash(t *testing.T) {
	if inVM() {
		return // its kernel has no ext4
	}
	lower, dir := filepath.Join(named("ext4").newDir(t), "lower"), named("tmpfs").newDir(t)
	merged, want := filepath.Join(dir, "merged"), filepath.Join(dir, "want")
	items := []item{
		directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7), directory("bin", 0o755, 0, 0),
		file("bin/suid", 0o4755, 0, 0),
		file("bin/all", 0o6750, 1, 1).with(accessName, acl(33, 65534, 7, 5)).with(capsName, caps2()),
	}
	build(t, lower, true, items)
	build(t, want, true, shifted(items))
	for n := 1; ; n++ {
		upper := filepath.Join(dir, fmt.Sprint(n))
		for _, d := range []string{merged, upper, upper + ".work"} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s.work", lower, upper, upper)
		again := func() {
			t.Helper()
			if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
				t.Fatal(err)
			}
		}
		again()
		line := []string{"shift", "--allow-copyup", "--jobs", "1", "--user-remap", remap, merged}
		r := traced(t, n, line...)
		for round := range 2 {
			if got := must(t, line...); round > 0 && !strings.HasPrefix(got.stdout, "changed 0 of ") {
				t.Errorf("killed at %d, round %d: %+v", n, round, got)
			}
			must(t, "verify", merged)
			got, wanted := takeDump(t, merged, false).withoutState(t, merged), takeDump(t, want, false)
			// Sizes and links of directories are the overlay's.
			for _, name := range []string{".", "bin"} {
				got[name], wanted[name] = ownerOf(got[name]), ownerOf(wanted[name])
			}
			if text := diff(got, wanted); text != "" {
				t.Errorf("killed at %d, round %d:\n%s", n, round, text)
			}
			if err := unix.Unmount(merged, 0); err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				again()
			}
		}
		if err := os.Remove(merged); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
		if !r.Killed {
			if n < 15 {
				t.Errorf("killed at only %d calls", n-1)
			}
			return
		}
	}
}
