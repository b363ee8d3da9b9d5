//go:build integration

package userns

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// callWithout runs userns-shift as on a kernel without some system calls.
func callWithout(t *testing.T, calls []int, args ...string) result {
	t.Helper()
	line := commandLine(t, args...)
	line, err := ctr.WithoutCalls(calls, line[0], line[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return runProgram(t, line[0], line[1:]...)
}

// TestOldKernels checks shift, verify and unshift without system calls that old kernels lack, each
// and all together, as on the kernel of openEuler 20.03.
func TestOldKernels(t *testing.T) {
	all := []int{
		unix.SYS_OPEN_TREE, unix.SYS_OPENAT2, unix.SYS_MOUNT_SETATTR, unix.SYS_FACCESSAT2,
		unix.SYS_FCHMODAT2, unix.SYS_CLOSE_RANGE,
	}
	for _, tt := range []struct {
		name  string
		calls []int
	}{
		{"open_tree", all[:1]}, {"openat2", all[1:2]}, {"mount_setattr", all[2:3]},
		{"all", all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := named("tmpfs").newDir(t)
			root, want, outside := filepath.Join(dir, "root"), filepath.Join(dir, "want"),
				filepath.Join(dir, "outside")
			items := append(everything(), directory("same", 0o755, 0, 0), directory("dev", 0o755, 0, 0),
				file("resolv", 0o644, 0, 0))
			build(t, root, true, items)
			before := takeDump(t, root, false)
			build(t, want, true, shifted(items))
			wanted := takeDump(t, want, false)
			build(t, outside, true, []item{directory(".", 0o755, 0, 0), file("suid", 0o4755, 0, 0)})
			outsideBefore := takeDump(t, outside, true)
			mount(t, outside, filepath.Join(root, "same"), "", unix.MS_BIND, "")
			mount(t, filepath.Join(outside, "suid"), filepath.Join(root, "resolv"), "", unix.MS_BIND, "")
			mount(t, "tmpfs", filepath.Join(root, "dev"), "tmpfs", 0, "mode=755")
			r := callWithout(t, tt.calls, "shift", "--user-remap", remap, root)
			if r.code != 0 {
				t.Fatalf("shift: %+v", r)
			}
			if hasWarned := strings.Contains(r.stderr,
				"mounts in the tree (3) are skipped"); hasWarned != (tt.calls[0] == unix.SYS_OPEN_TREE) {
				t.Errorf("stdout %q", r.stderr)
			}
			checkDump(t, "outside", takeDump(t, outside, true), outsideBefore)
			got := takeDump(t, root, false).withoutState(t, root)
			for _, name := range []string{"same", "same/suid", "dev", "resolv"} {
				delete(got, name)
				delete(wanted, name)
			}
			checkDump(t, "shifted", got, wanted)
			if r := callWithout(t, tt.calls, "verify", root); r.code != 0 {
				t.Errorf("verify: %+v", r)
			}
			if r := callWithout(t, tt.calls, "unshift", root); r.code != 0 {
				t.Errorf("unshift: %+v", r)
			}
			if got := takeDump(t, root, false); got["bin/suid"] != before["bin/suid"] {
				t.Errorf("shifted back: got bin/suid %s, want %s", got["bin/suid"], before["bin/suid"])
			}
		})
	}
}

// TestOldKernelFlags checks flags without the system calls that Linux 4.19 lacks.
func TestOldKernelFlags(t *testing.T) {
	if inVM() {
		return // its file systems have no flags
	}
	root := filepath.Join(named("ext4").newDir(t), "root")
	build(t, root, true, append(small(), protectedFiles()...))
	before := takeDump(t, root, true)
	calls := []int{unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE, unix.SYS_OPENAT2}
	checkRefused(t, callWithout(t, calls, "shift", "--user-remap", remap, root), 1,
		"nothing was changed", "immutable or append-only", `"fixed"`)
	checkDump(t, "refused", takeDump(t, root, true), before)
	if r := callWithout(t, calls, "shift", "--user-remap", remap, "--immutable", "clear",
		root); r.code != 0 {
		t.Errorf("shift: %+v", r)
	}
	if got := takeDump(t, root, true)["fixed"]; !strings.Contains(got, "owner 100000:100000") ||
		!strings.Contains(got, "flags 80010") {
		t.Errorf("got fixed %s", got)
	}
}
