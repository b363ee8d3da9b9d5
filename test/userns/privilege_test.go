//go:build integration

package userns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// privileged returns a shifted tree, with privileged programs of its container's root, in a
// directory that all users may enter.
func privileged(t *testing.T) (dir, root string) {
	t.Helper()
	dir = named("tmpfs").newDir(t)
	openToAll(t, dir)
	root = filepath.Join(dir, "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o755, 0, 0)})
	shiftTree(t, root)
	build(t, root, true, []item{
		file("suid", 0o4755, 100000, 100000), file("user", 0o4755, 101000, 101000),
		file("sgid", 0o2755, 100000, 100042),
		file("caps", 0o755, 100000, 100000).with(capsName, caps3(100000)),
	})
	return dir, root
}

// TestUnshiftPrivileged checks that unshift makes privileged programs that a container's root has
// left the host's only if no other user can execute them, or with --keep-setid.
func TestUnshiftPrivileged(t *testing.T) {
	names := []string{`"suid"`, `"user"`, `"sgid"`, `"caps"`}
	t.Run("refused", func(t *testing.T) {
		dir, root := privileged(t)
		before := takeDump(t, root, true)
		for _, mode := range []os.FileMode{0o755, 0o711, 0o710, 0o701} {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			r := call(t, "unshift", root)
			checkRefused(t, r, 1, append(names, "nothing was changed",
				"(chmod 0700 "+dir+", or --drop-setid or --keep-setid)")...)
		}
		checkDump(t, "refused", takeDump(t, root, true), before)
		checkRefused(t, call(t, "unshift", "--drop-setid", "--keep-setid", root), 2, "exclude each other")
	})
	t.Run("dropped", func(t *testing.T) {
		_, root := privileged(t)
		must(t, "unshift", "--drop-setid", root)
		for name, line := range takeDump(t, root, false) {
			for _, privilege := range []string{"mode 104", "mode 102", capsName} {
				if strings.Contains(line, privilege) {
					t.Errorf("%s has kept a privilege: %s", name, line)
				}
			}
		}
	})
	kept := map[string]string{"suid": "0:0", "user": "1000:1000", "sgid": "0:42", "caps": "0:0"}
	t.Run("kept", func(t *testing.T) {
		_, root := privileged(t)
		r := must(t, "unshift", "--keep-setid", root)
		if !strings.Contains(r.stderr, "become the host's") {
			t.Errorf("no warning: %+v", r)
		}
		checkOwners(t, root, kept)
	})
	t.Run("closed", func(t *testing.T) {
		dir, root := privileged(t)
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		must(t, "unshift", root)
		checkOwners(t, root, kept)
		if line := takeDump(t, root, false)["suid"]; !strings.Contains(line, "mode 104755") {
			t.Errorf("the set-id bit is gone: %s", line)
		}
	})
	t.Run("nothing privileged", func(t *testing.T) {
		_, root := privileged(t)
		for _, name := range []string{"suid", "user", "sgid", "caps"} {
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		must(t, "unshift", root)
	})
}

// TestHostCapsNeedPrivacy checks that --caps v2, which makes capabilities that a container's root
// has given to programs valid on the host, is refused for trees that other users can reach.
func TestHostCapsNeedPrivacy(t *testing.T) {
	dir, root := privileged(t)
	v2 := []string{"shift", "--user-remap", remap, "--caps", "v2", root}
	before := takeDump(t, root, true)
	checkRefused(t, call(t, v2...), 1, "(chmod 0700 "+dir+", or --caps v3)")
	checkDump(t, "refused", takeDump(t, root, true), before)
	r := call(t, "check", "--user-remap", remap, "--caps", "v2", root)
	if r.code != 1 || !strings.Contains(r.stdout, "chmod 0700 "+dir) {
		t.Errorf("check: %+v", r)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, v2...)

	closed, open := named("tmpfs").newDir(t), named("tmpfs").newDir(t)
	openToAll(t, open)
	lower, merged := filepath.Join(closed, "lower"), filepath.Join(closed, "merged")
	build(t, lower, true, []item{
		directory(".", 0o755, 0, 0), file("caps", 0o755, 0, 0).with(capsName, caps2()),
	})
	upper, work := filepath.Join(open, "upper"), filepath.Join(open, "work")
	for _, d := range []string{merged, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "overlay", merged, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
	v2 = []string{"shift", "--user-remap", remap, "--caps", "v2", "--allow-copyup", merged}
	checkRefused(t, call(t, v2...), 1, "upper", "(chmod 0700 "+open+", or --caps v3)")
	if err := unix.Chmod(open, 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, v2...)
}
