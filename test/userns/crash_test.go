//go:build integration

package userns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"palisade/internal/linux/sys"
	"palisade/test/ctr"
)

// small returns a tree with few files, since each file costs more runs of a crash test. Most have
// something that a chown clears.
func small() []item {
	return []item{
		directory(".", 0o2755, 0, 0).with(accessName, acl(33, 42, 7, 5)),
		file("plain", 0o644, 7, 7),
		directory("bin", 0o3755, 0, 0).with(deflName, acl(1, 2, 7, 5)),
		file("bin/suid", 0o4755, 0, 0), hardLink("suid2", "bin/suid"),
		file("bin/all", 0o6750, 1, 1).with(accessName, acl(33, 65534, 7, 5)).with(capsName, caps2()),
		hardLink("bin/all2", "bin/all"),
		file("caps", 0o755, 0, 0).with(capsName, caps3(5000)),
		symlink("link", "/etc/passwd", 0, 0),
	}
}

// protectedFiles returns immutable and append-only files.
func protectedFiles() []item {
	return []item{
		directory("safe", 0o755, 0, 0).with(deflName, acl(1, 2, 7, 5)).flagged(appendOnly),
		file("safe/f", 0o644, 0, 0),
		file("fixed", 0o4755, 0, 0).with(capsName, caps2()).flagged(immutable),
		hardLink("fixed2", "fixed"),
		file("log", 0o640, 1, 1).flagged(appendOnly),
	}
}

func protectedTree() []item { return append(small(), protectedFiles()...) }

// crash is a change that is killed.
type crash struct {
	name  string
	items func() []item
	// before has the commands after the build, and change the one to kill, without ROOT.
	before [][]string
	change []string
	// other is another change, which must be refused while change is incomplete.
	other []string
	// on lists the file systems, nil for all.
	on []string
}

var (
	toRemap    = []string{"shift", "--jobs", "1", "--user-remap", remap}
	toOther    = []string{"shift", "--jobs", "1", "--user-remap", "300000:400000:65535"}
	toOverlaps = []string{"shift", "--jobs", "1", "--user-remap", "1000:1000:64000"}
	back       = []string{"unshift", "--jobs", "1"}
)

// plus returns a copy of a command line with more arguments.
func plus(line []string, more ...string) []string { return slices.Concat(line, more) }

func crashes() []crash {
	onDisks := []string{"ext4", "xfs", "btrfs"} // with flags on all kernels
	return []crash{
		{name: "shift", items: small, change: toRemap, other: toOther},
		{name: "unshift", items: small, before: [][]string{toRemap}, change: back, other: toRemap},
		{name: "A to B", items: small, before: [][]string{toRemap}, change: toOther, other: toRemap},
		{name: "overlap", items: overlapping, change: toOverlaps, other: toOther},
		{name: "overlap back", items: overlapping, before: [][]string{toOverlaps}, change: back,
			other: toOther},
		{name: "immutable", items: protectedTree, change: plus(toRemap, "--immutable", "clear"),
			other: toOther, on: onDisks},
		{name: "immutable back", items: protectedTree,
			before: [][]string{plus(toRemap, "--immutable", "clear")},
			change: plus(back, "--immutable", "clear"), other: toRemap, on: onDisks},
		{name: "squash", items: unmapped, change: plus(toRemap, "--unmapped", "squash=65534"),
			other: toOther},
		{name: "workers", items: scattered, change: []string{"shift", "--jobs", "4", "--user-remap",
			remap}, other: toOther},
		{name: "drop set-id", items: small, before: [][]string{toRemap},
			change: plus(back, "--drop-setid"), other: toRemap},
	}
}

// unmapped returns a tree with unmapped ids.
func unmapped() []item {
	return append(small(), file("bin/other", 0o4755, 70000, 0).with(capsName, caps3(70001)),
		file("other", 0o644, 70002, 70003))
}

// scattered returns a tree whose files have names in several directories, for several workers. Each
// run kills them at other points.
func scattered() []item {
	items := []item{directory(".", 0o755, 0, 0)}
	for n := range 4 {
		d := fmt.Sprintf("d%d", n)
		items = append(items, directory(d, 0o755, 0, 0), file(d+"/plain", 0o644, 7, 7),
			file(d+"/suid", 0o4755, 0, 0).with(capsName, caps2()))
	}
	for n := range 4 {
		items = append(items, hardLink(fmt.Sprintf("d%d/other", n), fmt.Sprintf("d%d/suid", (n+1)%4)),
			hardLink(fmt.Sprintf("d%d/third", n), fmt.Sprintf("d%d/suid", (n+2)%4)))
	}
	return append(items, file("plain", 0o644, 0, 0))
}

// overlapping returns a tree with ids that are both changed by toOverlaps and results of it.
func overlapping() []item {
	items := append(small(), file("user", 0o4644, 1000, 1000))
	for n := range items {
		if items[n].attrs[accessName] != nil {
			items[n].attrs[accessName] = acl(33, 60000, 7, 5)
		}
	}
	return items
}

// TestCrash kills each change at each changing system call, and checks that the resumed change
// gives the result of an uninterrupted one, and that until then no other user can enter the tree.
// Outside of make soak each call is killed on one of the file systems.
func TestCrash(t *testing.T) {
	for _, c := range crashes() {
		t.Run(c.name, func(t *testing.T) {
			onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
				if c.on != nil && !slices.Contains(c.on, f.name) {
					return
				}
				p := c.prepare(t, f, dir)
				killed := 0
				first, step := c.calls(f)
				for n := first; ; n += step {
					root := p.start(t)
					if c.before == nil { // to kill it while it creates the key, too
						if err := os.Remove(filepath.Join(stateDir(t), "key")); err != nil && killed > 0 {
							t.Log(err) // an earlier kill left no key
						}
					}
					if !p.kill(t, root, n) {
						checkDump(t, "not killed", takeDump(t, root, false), p.want)
						break
					}
					killed++
					p.checkClosed(t, root)
					p.resume(t, root)
					checkDump(t, "resumed", takeDump(t, root, false), p.want)
				}
				if killed < 15/step {
					t.Errorf("killed at only %d calls", killed)
				}
			})
		})
	}
}

// calls returns the first call to kill on a file system, and the step to the next one.
func (c *crash) calls(f *fileSystem) (first, step int) {
	var on []string
	for _, other := range fileSystems {
		if (c.on == nil || slices.Contains(c.on, other.name)) && !(inVM() && other.mkfs != nil) {
			on = append(on, other.name)
		}
	}
	step = ctr.Repeat(len(on), 1)
	return 1 + slices.Index(on, f.name)%step, step
}

// TestCrashTwice is TestCrash with a second kill of the resumed change, for each pair of calls;
// outside of make soak, for one in three.
func TestCrashTwice(t *testing.T) {
	few := func() []item {
		return []item{directory(".", 0o755, 0, 0),
			file("all", 0o6750, 1, 1).with(accessName, acl(33, 65534, 7, 5)).with(capsName, caps2()),
			hardLink("all2", "all")}
	}
	for _, c := range []crash{
		{name: "shift", items: few, change: toRemap, other: toOther, on: []string{"tmpfs"}},
		{name: "unshift", items: few, before: [][]string{toRemap}, change: back, other: toRemap,
			on: []string{"tmpfs"}},
		{name: "shift with records in the state directory", items: few, change: toRemap, other: toOther,
			on: []string{"ramfs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
				if !slices.Contains(c.on, f.name) {
					return
				}
				killed, step := 0, ctr.Repeat(3, 1)
				defer func() {
					if t.Logf("killed twice %d times", killed); killed < 30/step {
						t.Errorf("killed twice only %d times", killed)
					}
				}()
				p := c.prepare(t, f, dir)
				for n := 1; ; n++ {
					for m := 1 + n%step; ; m += step {
						root := p.start(t)
						if !p.kill(t, root, n) {
							return
						}
						if p.isDone(t, root) {
							break
						}
						again := p.kill(t, root, m)
						if again {
							killed++
							p.checkClosed(t, root)
							p.resume(t, root)
						}
						checkDump(t, "resumed", takeDump(t, root, false), p.want)
						if !again {
							break
						}
					}
				}
			})
		})
	}
}

// TestCrashTakenBack checks that unshift restores a tree whose shift was killed.
func TestCrashTakenBack(t *testing.T) {
	for _, c := range []crash{
		{name: "shift", items: small, change: toRemap},
		{name: "immutable", items: protectedTree, change: plus(toRemap, "--immutable", "clear"),
			on: []string{"ext4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFileSystems(t, func(t *testing.T, f *fileSystem, dir string) {
				if c.on != nil && !slices.Contains(c.on, f.name) {
					return
				}
				p := c.prepare(t, f, dir)
				first, step := c.calls(f)
				for n := first; ; n += step {
					root := p.start(t)
					if !p.kill(t, root, n) {
						break
					}
					// The kill may precede the record.
					if r := call(t, "status", root); r.stdout != "none\n" && r.stdout != "mixed\n" {
						must(t, "unshift", "--immutable", "clear", root)
					}
					checkDump(t, "taken back", takeDump(t, root, false), p.unchanged)
				}
			})
		})
	}
}

// TestCrashOpened checks that an unshift that was killed is not resumed in a tree that has become
// reachable for other users.
func TestCrashOpened(t *testing.T) {
	f := named("tmpfs")
	dir := f.newDir(t)
	c := crash{items: small, before: [][]string{toRemap}, change: back}
	p := c.prepare(t, f, dir)
	for n, resumed := 1, 0; ; n += 4 {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root := p.start(t)
		if !p.kill(t, root, n) {
			if resumed == 0 {
				t.Error("no kill left the tree half changed")
			}
			return
		}
		openToAll(t, dir)
		if r := call(t, "status", root); !strings.HasPrefix(r.stdout, "partial") {
			continue
		}
		resumed++
		checkRefused(t, call(t, "unshift", root), 1, "--drop-setid or --keep-setid")
		must(t, "unshift", "--drop-setid", root)
		for name, line := range takeDump(t, root, false) {
			if strings.Contains(line, "mode 104") || strings.Contains(line, "mode 106") {
				t.Errorf("killed at %d: %s has a set-id bit: %s", n, name, line)
			}
		}
	}
}

// TestCrashSettled is TestCrash for a tree without recent changes, whose names are not read again.
// Outside of make soak one call in three is killed.
func TestCrashSettled(t *testing.T) {
	alone := func() []item { return append(small(), file("alone", 0o4755, 0, 0)) } // with one name
	for _, c := range []crash{
		{name: "shift", items: small, change: toRemap, other: toOther, on: []string{"tmpfs"}},
		{name: "unshift", items: small, before: [][]string{toRemap}, change: back, other: toRemap,
			on: []string{"tmpfs"}},
		{name: "shift without attributes", items: alone, change: toRemap, other: toOther,
			on: []string{"ramfs"}},
		{name: "immutable", items: protectedTree, change: plus(toRemap, "--immutable", "clear"),
			other: toOther, on: []string{"ext4"}},
	} {
		f := named(c.on[0])
		if inVM() && f.mkfs != nil {
			continue // its kernel has only file systems in memory
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.prepare(t, f, f.newDir(t))
			for n := 1; ; n += ctr.Repeat(3, 1) {
				root := p.start(t)
				settle(t, root)
				if !p.kill(t, root, n) {
					checkDump(t, "not killed", takeDump(t, root, false), p.want)
					break
				}
				p.checkClosed(t, root)
				settle(t, root)
				p.resume(t, root)
				checkDump(t, "resumed", takeDump(t, root, false), p.want)
			}
		})
	}
}

// settle waits until the ctimes in a tree are old enough for the cached names to be valid.
func settle(t *testing.T, root string) {
	t.Helper()
	var latest int64
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		latest = max(latest, st.Ctim.Nano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the ctimes to age",
		func() bool { return time.Now().UnixNano()-latest > int64(150*time.Millisecond) })
}

// prepared is a crash on a file system.
type prepared struct {
	crash
	fs   *fileSystem
	dir  string
	want dump
	// unchanged is the tree before the change.
	unchanged dump
}

// prepare makes the change without interruption, and keeps the trees before and after it.
func (c crash) prepare(t *testing.T, f *fileSystem, dir string) *prepared {
	t.Helper()
	p := &prepared{crash: c, fs: f, dir: dir}
	root := p.start(t)
	p.unchanged = takeDump(t, root, false)
	must(t, plus(c.change, root)...)
	p.want = takeDump(t, root, false)
	return p
}

// start builds the tree again.
func (p *prepared) start(t *testing.T) string {
	t.Helper()
	root := filepath.Join(p.dir, "root")
	if err := removeTree(root); err != nil {
		t.Fatal(err)
	}
	build(t, root, p.fs.hasAttrs, p.items())
	for _, line := range p.before {
		must(t, plus(line, root)...)
	}
	return root
}

// kill makes the change, and kills it at a call. It reports whether that call was reached.
func (p *prepared) kill(t *testing.T, root string, at int) bool {
	t.Helper()
	r := traced(t, at, plus(p.change, root)...)
	t.Logf("kill at %d: %+v", at, r)
	if !r.Killed && r.Code != 0 {
		t.Fatalf("at call %d: %+v", at, r)
	}
	return r.Killed
}

// isDone reports whether an unshift is complete except for the removal of the state directory.
func (p *prepared) isDone(t *testing.T, root string) bool {
	t.Helper()
	if p.change[0] != "unshift" {
		return false
	}
	r := call(t, "status", root)
	t.Logf("status: %+v", r)
	return r.stdout == "none\n"
}

// resume completes a change that was killed.
func (p *prepared) resume(t *testing.T, root string) {
	t.Helper()
	if !p.isDone(t, root) {
		r := must(t, plus(p.change, root)...)
		t.Logf("resume: %+v", r)
	}
}

// checkClosed checks that a partially changed tree is closed to other users, and that another
// change is refused.
func (p *prepared) checkClosed(t *testing.T, root string) {
	t.Helper()
	now := takeDump(t, root, false)
	isTouched := false
	for name, line := range now {
		isTouched = isTouched || name != "." && line != p.unchanged[name]
	}
	isDone := true
	for name, line := range now {
		isDone = isDone && (name == "." || line == p.want[name])
	}
	if !isTouched {
		return // killed before the first file
	}
	if !isDone {
		if !strings.HasPrefix(now["."], "mode 040700 owner 0:0 ") {
			t.Fatalf("the tree is not closed: %s", now["."])
		}
		if err := readAs(1000, filepath.Join(root, "plain")); err != unix.EACCES {
			t.Fatalf("a user of the host gets into the tree: %v", err)
		}
		if err := readAs(100000, filepath.Join(root, "plain")); err != unix.EACCES {
			t.Fatalf("the container's root gets into the tree: %v", err)
		}
	}
	r := call(t, "status", root)
	if r.code == 0 && isDone {
		return
	}
	if r.code != 3 || !strings.HasPrefix(r.stdout, "partial ") {
		t.Fatalf("status: %+v", r)
	}
	checkRefused(t, call(t, plus(p.other, root)...), 1, "interrupted")
}

// readAs tries to open a file as a user of the host.
func readAs(uid int, path string) error {
	return sys.AsOwner(uint32(uid), uint32(uid), func() error {
		fd, err := unix.Open(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
}
