//go:build integration

package userns

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// mapped returns the new id of an id by remap.
func mapped(id uint32) uint32 {
	if id < 65535 {
		return id + 100000
	}
	return id
}

// shifted returns the items of a tree after a shift by remap.
func shifted(items []item) []item {
	items = slices.Clone(items)
	for n := range items {
		i := &items[n]
		if i.kind == unix.S_IFCHR && i.rdev == 0 {
			continue // a whiteout
		}
		i.uid, i.gid = int(mapped(uint32(i.uid))), int(mapped(uint32(i.gid)))
		attrs := make(map[string][]byte)
		for name, value := range i.attrs {
			switch name {
			case capsName:
				root := uint32(0)
				if len(value) == 24 {
					root = binary.LittleEndian.Uint32(value[20:])
				}
				value = caps3(mapped(root))
			case accessName, deflName:
				value = slices.Clone(value)
				// The entries for the user and the group.
				for _, at := range []int{4 + 8 + 4, 4 + 3*8 + 4} {
					binary.LittleEndian.PutUint32(value[at:], mapped(binary.LittleEndian.Uint32(value[at:])))
				}
			}
			attrs[name] = value
		}
		i.attrs = attrs
	}
	return items
}

// withoutState returns the dump without the record at the root directory.
func (d dump) withoutState(t *testing.T, root string) dump {
	t.Helper()
	value, err := getAttr(root, stateName)
	if err != nil {
		t.Fatal(err)
	}
	c := make(dump)
	for name, text := range d {
		c[name] = text
	}
	c["."] = strings.Replace(c["."], fmt.Sprintf(" %s=%x", stateName, withoutSeal(value)), "", 1)
	return c
}

// TestEverything checks all properties of files of each kind after shift and unshift.
func TestEverything(t *testing.T) {
	onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
		root, want := filepath.Join(dir, "root"), filepath.Join(dir, "want")
		items := everything()
		if !f.hasAttrs {
			for n := range items {
				items[n].attrs = nil
			}
		}
		build(t, root, f.hasAttrs, items)
		build(t, want, f.hasAttrs, shifted(items))
		before := takeDump(t, root, false)
		settle(t, root) // so that names are not read again, unlike in other tests
		shiftTree(t, root)
		got := takeDump(t, root, false)
		if f.hasAttrs {
			got = got.withoutState(t, root)
			checkStateDir(t, 0)
		} else {
			checkStateDir(t, 1)
		}
		checkDump(t, "shifted", got, takeDump(t, want, false))
		if r := must(t, "verify", root); !strings.Contains(r.stdout, "files match 100000:100000:65535") {
			t.Errorf("verify: got %q", r.stdout)
		}
		if r := must(t, "status", root); r.stdout != "shifted 100000:100000:65535\n" {
			t.Errorf("status: got %q", r.stdout)
		}
		must(t, "unshift", root)
		for _, back := range []string{"hosts", "half"} { // had shifted ids before
			line := before[back]
			before[back] = strings.NewReplacer("100000:100000", "0:0", "0:100000", "0:0").Replace(line)
		}
		if f.hasAttrs {
			before["bin/caps-shifted"] = strings.Replace(before["bin/caps-shifted"],
				fmt.Sprintf("%x", caps3(100000)), fmt.Sprintf("%x", caps2()), 1)
		}
		checkDump(t, "shifted back", takeDump(t, root, false), before)
		if r := must(t, "status", root); r.stdout != "none\n" {
			t.Errorf("status: got %q", r.stdout)
		}
		checkStateDir(t, 0)
	})
}

// checkStateDir checks the number of entries in the state directory, without the key.
func checkStateDir(t *testing.T, want int) {
	t.Helper()
	entries, err := os.ReadDir(stateDir(t))
	if err != nil || len(entries) != want+1 {
		t.Errorf("got state directory %v, %v, want %d entries and the key", entries, err, want)
	}
}

// TestSubvolume checks that a subvolume of btrfs, which has another device number, is shifted with
// the tree.
func TestSubvolume(t *testing.T) {
	if inVM() {
		return // its kernel has no btrfs
	}
	root := filepath.Join(named("btrfs").newDir(t), "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0)})
	needPrograms(t, "btrfs")
	sub := filepath.Join(root, "sub")
	btrfs := func(args ...string) {
		t.Helper()
		if r := runProgram(t, "btrfs", args...); r.code != 0 {
			t.Fatalf("btrfs %q: %+v", args, r)
		}
	}
	btrfs("subvolume", "create", sub)
	t.Cleanup(func() { btrfs("subvolume", "delete", sub) })
	build(t, sub, true, []item{file("suid", 0o4755, 0, 0).with(capsName, caps2()),
		hardLink("suid2", "suid"), directory("d", 0o755, 1, 1)})
	before := takeDump(t, root, false)
	shiftTree(t, root)
	after := takeDump(t, root, false)
	for _, name := range []string{".", "sub", "sub/suid", "sub/suid2"} {
		if !strings.Contains(after[name], " owner 100000:100000 ") {
			t.Errorf("got %s %s, want owner 100000:100000", name, after[name])
		}
	}
	if got, want := after["sub/suid"], fmt.Sprintf("%s=%x", capsName,
		caps3(100000)); !strings.Contains(got, "mode 104755") || !strings.Contains(got, want) {
		t.Errorf("got sub/suid %s, want mode 104755 and %s", got, want)
	}
	must(t, "unshift", root)
	checkDump(t, "shifted back", takeDump(t, root, false), before)

	snapshot := filepath.Join(root, "snapshot")
	btrfs("subvolume", "snapshot", "-r", sub, snapshot)
	t.Cleanup(func() { btrfs("subvolume", "delete", snapshot) })
	before = takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
		"snapshot", "read-only")
	checkDump(t, "with a read-only snapshot", takeDump(t, root, true), before)
}

// TestCapabilitiesWork checks that the capabilities of a shifted file are valid only in the
// container.
func TestCapabilitiesWork(t *testing.T) {
	root := named("tmpfs").newDir(t)
	openToAll(t, root)
	cat := filepath.Join(root, "cat")
	program, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cat, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(cat, capsName, caps2(), 0); err != nil {
		t.Fatal(err)
	}
	shiftTree(t, root)
	for _, tt := range []struct {
		where, want string
		attr        *syscall.SysProcAttr
	}{
		{"host", "CapEff:\t0000000000000000",
			&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}},
		{"container", "CapEff:\t0000000000002000", &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Credential: &syscall.Credential{Uid: 5, Gid: 5},
			UidMappings:                []syscall.SysProcIDMap{{HostID: 100000, Size: 65535}},
			GidMappings:                []syscall.SysProcIDMap{{HostID: 100000, Size: 65535}},
			GidMappingsEnableSetgroups: true,
		}},
	} {
		cmd := exec.CommandContext(t.Context(), cat, "/proc/self/status")
		cmd.Args[0], cmd.SysProcAttr = "cat", tt.attr
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: got %s, %v, want %q", tt.where, out, err, tt.want)
		}
	}
}

// TestTwice checks that a second run changes nothing, not even a ctime.
func TestTwice(t *testing.T) {
	onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
		root := filepath.Join(dir, "root")
		items := small()
		build(t, root, f.hasAttrs, items)
		shiftTree(t, root)
		before := takeDump(t, root, true)
		r := traced(t, 0, "shift", "--user-remap", remap, root)
		// One call creates the lock file.
		if r.Code != 0 || r.Calls > 1 || !strings.HasPrefix(r.Stdout, "changed 0 of ") {
			t.Errorf("second shift: %+v", r)
		}
		checkDump(t, "second shift", takeDump(t, root, true), before)
		must(t, "unshift", root)
		before = takeDump(t, root, true)
		r = traced(t, 0, "unshift", "--user-remap", remap, root)
		if r.Code != 0 || r.Calls > 1 || !strings.HasPrefix(r.Stdout, "changed 0 of ") {
			t.Errorf("second unshift: %+v", r)
		}
		checkDump(t, "second unshift", takeDump(t, root, true), before)
	})
}

// TestAttributesAreReadOnce checks that in a tree without recent changes the second pass does not
// read again the attributes of files that have none to change.
func TestAttributesAreReadOnce(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	buildMany(t, root)
	settle(t, root)
	count := func(args ...string) (n int) {
		t.Helper()
		line := commandLine(t, plus(args, root)...)
		calls := []ctr.Call{
			{Number: unix.SYS_LLISTXATTR}, {Number: unix.SYS_LISTXATTR},
		}
		r, err := ctr.RunTraced(0, calls, line[0], line[1:]...)
		if err != nil || r.Code != 0 {
			t.Fatalf("%v, %+v", err, r)
		}
		return r.Calls
	}
	once := count("shift", "--user-remap", remap, "--dry-run")
	// Directories and the 30 set-id files are read again.
	if twice := count("shift", "--user-remap", remap); twice > once+100 || once < 30_000 {
		t.Errorf("got %d calls for both passes, want at most %d", twice, once+100)
	}
	must(t, "verify", root)
}

func TestDryRun(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, everything())
	before := takeDump(t, root, true)
	if r := must(t, "shift", "--user-remap", remap, "--dry-run",
		root); r.stdout != fmt.Sprintf("would change %d of %d files: not shifted\n", len(before)-2,
		len(before)-1) {
		t.Errorf("stdout %q", r.stdout) // hosts is shifted already, and the whiteout does not count
	}
	checkDump(t, "dry run", takeDump(t, root, true), before)
}
