//go:build integration

package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// TestDeep checks a tree with a path longer than PATH_MAX and a branch at each level, with a limit
// of open files below the number of levels.
func TestDeep(t *testing.T) {
	const levels = 500
	name := "level-with-a-name-" + strings.Repeat("x", 40)
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0)})
	descend(t, root, levels, func(level, dir int) {
		for _, branch := range []string{"a", name, "z"} {
			if err := unix.Mkdirat(dir, branch, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mknodat(dir, branch+"/suid", unix.S_IFREG|0o600, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Fchmodat(dir, branch+"/suid", 0o4755, 0); err != nil {
				t.Fatal(err)
			}
		}
	}, name)
	t.Cleanup(func() { removeDeep(t, root, name) })
	for _, jobs := range []string{"1", "3"} {
		line := role("limited", commandLine(t, "shift", "--jobs", jobs, "--user-remap", remap, root)...)
		if r := runProgram(t, line[0], line[1:]...); r.code != 0 {
			t.Fatalf("shift with %s jobs: exit code %d, %s", jobs, r.code, tail(r.stderr))
		}
		check := func(uid uint32) {
			t.Helper()
			descend(t, root, levels, func(level, dir int) {
				for _, branch := range []string{"a", name, "z"} {
					for _, path := range []string{branch, branch + "/suid"} {
						var st unix.Stat_t
						if err := unix.Fstatat(dir, path, &st, 0); err != nil {
							t.Fatal(err)
						}
						if st.Uid != uid || path != branch && st.Mode != unix.S_IFREG|0o4755 {
							t.Fatalf("level %d: %s belongs to %d, mode %o", level, path, st.Uid, st.Mode)
						}
					}
				}
			}, name)
		}
		check(100000)
		line = role("limited", commandLine(t, "unshift", "--jobs", jobs, root)...)
		if r := runProgram(t, line[0], line[1:]...); r.code != 0 {
			t.Fatalf("unshift with %s jobs: exit code %d, %s", jobs, r.code, tail(r.stderr))
		}
		check(0)
	}
}

// tail returns the last 300 bytes of a text with long paths.
func tail(text string) string { return text[max(0, len(text)-300):] }

// descend calls do for each level of nested directories.
func descend(t *testing.T, root string, levels int, do func(level, dir int), name string) {
	t.Helper()
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for level := range levels {
		if err != nil {
			t.Fatal(err)
		}
		do(level, dir)
		var next int
		next, err = unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(dir)
		dir = next
	}
	unix.Close(dir)
}

// removeDeep removes a deep tree from its end, since its path is too long for os.RemoveAll.
func removeDeep(t *testing.T, root, name string) {
	t.Helper()
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	for {
		err := unix.Renameat(top, name+"/"+name, top, "next")
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		if errors.Is(err, unix.ENOENT) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if err := unix.Renameat(top, "next", top, name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWide checks a directory with more entries than one read returns, including hard links, with
// several workers.
func TestWide(t *testing.T) {
	files := ctr.Repeat(30_000, 100_000)
	if inVM() {
		files = 5000
	}
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), directory("wide", 0o700, 0, 0)})
	wide := filepath.Join(root, "wide")
	for n := range files {
		path := fmt.Sprintf("%s/%d", wide, n)
		var err error
		switch {
		case n%1000 == 999:
			err = unix.Link(fmt.Sprintf("%s/%d", wide, n-500), path)
		case n%1000 == 499:
			if err = unix.Mknod(path, unix.S_IFREG|0o600, 0); err == nil {
				err = unix.Chmod(path, 0o4755)
			}
		default:
			err = unix.Mknod(path, unix.S_IFREG|0o644, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range [][]string{{"shift", "--jobs", "5", "--user-remap", remap},
		{"unshift", "--jobs", "5"}} {
		r := must(t, plus(line, root)...)
		if !strings.HasPrefix(r.stdout, fmt.Sprintf("changed %d of %d files", files+2, files+2)) {
			t.Errorf("stdout %q", r.stdout)
		}
		want := map[string]uint32{"shift": 100000, "unshift": 0}[line[0]]
		for n := range files {
			var st unix.Stat_t
			if err := unix.Lstat(fmt.Sprintf("%s/%d", wide, n), &st); err != nil {
				t.Fatal(err)
			}
			if mode := st.Mode & 0o7777; st.Uid != want || st.Gid != want ||
				n%500 == 499 && mode != 0o4755 || n%500 != 499 && mode != 0o644 {
				t.Fatalf("%s: file %d belongs to %d:%d, mode %o", line[0], n, st.Uid, st.Gid, mode)
			}
		}
	}
}

// TestFullDisk checks that a file is not changed if there is no space to record its properties.
func TestFullDisk(t *testing.T) {
	if inVM() {
		return // its kernel has no ext4
	}
	dir := filepath.Join(shared.dir, "full")
	// With inodes of 128 bytes each file with attributes needs a block.
	mountForTest(t, dir, "ext4", []string{"mke2fs", "-q", "-t", "ext4", "-m", "0", "-b", "1024",
		"-I", "128", "-O", "^has_journal", "-F"}, 4<<20)
	root := filepath.Join(dir, "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o644, 0, 0),
		file("suid", 0o4755, 0, 0)})
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	blocks := int64(0)
	for ; err == nil; blocks++ {
		if _, err = ballast.Write(make([]byte, 1024)); err == nil {
			err = ballast.Sync()
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	free := func(n int64) { // blocks
		t.Helper()
		if err := ballast.Truncate((blocks - 1 - n) * 1024); err != nil {
			t.Fatal(err)
		}
	}
	free(0)
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "no space left")
	checkDump(t, "no space for the state", takeDump(t, root, true), before)
	free(1) // for the state
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, `"suid"`, "no space left",
		"run the same command again")
	if got := takeDump(t, root, true)["suid"]; got != before["suid"] {
		t.Errorf("got suid %s, want %s", got, before["suid"])
	}
	checkOwners(t, root, map[string]string{"plain": "100000:100000"})
	free(2)
	shiftTree(t, root)
	if got := takeDump(t, root, false)["suid"]; !strings.HasPrefix(got,
		"mode 104755 owner 100000:100000") {
		t.Errorf("got suid %s, want it shifted", got)
	}
}
