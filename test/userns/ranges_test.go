//go:build integration

package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rangesOf returns the first ids of the ranges in the test's registry, and their owners. No name in
// it may be anything else, except that of an entry which was about to replace another.
func rangesOf(t *testing.T) map[uint32]string {
	t.Helper()
	var list []struct {
		First uint32
		Kind  string
		Owner string
	}
	text := must(t, "ranges", "list", "--json").stdout
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	owners := make(map[uint32]string)
	for _, l := range list {
		if l.Kind == "" {
			t.Errorf("entry %d has another format", l.First)
		}
		owners[l.First] = l.Kind + " " + l.Owner
	}
	names, err := os.ReadDir(filepath.Join(stateDir(t), "ranges"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".new-")
	})
	if len(names) != len(owners) {
		t.Errorf("%d names, %d ranges", len(names), len(owners))
	}
	return owners
}

// TestRangeCrash kills an allocation for a tree, a reservation, and the release of a range at each
// changing system call. The next attempt succeeds, and no range is allocated twice.
func TestRangeCrash(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	for _, tt := range []struct {
		name         string
		before, line []string
		left         int // ranges at the end
		calls        int // at least
	}{
		{"shift", nil, []string{"shift", "--user-remap", "auto"}, 1, 10},
		{"shift to another range", []string{"shift", "--user-remap", "auto"},
			[]string{"shift", "--user-remap", "auto:65535"}, 1, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := filepath.Join(dir, "root")
			for n := 1; ; n++ {
				if err := removeTree(root); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(stateDir(t)); err != nil {
					t.Fatal(err)
				}
				build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7)})
				if tt.before != nil {
					must(t, plus(tt.before, root)...)
				}
				r := traced(t, n, plus(tt.line, root)...)
				if !r.Killed && (r.Code != 0 || n <= tt.calls) {
					t.Fatalf("at %d: %+v", n, r)
				}
				if after := rangesOf(t); len(after) > 2 {
					t.Errorf("killed at %d: %v", n, after)
				}
				must(t, plus(tt.line, root)...)
				after := rangesOf(t)
				// A kill between the end of a change and the release of the former range leaves that.
				if len(after) != tt.left && !(len(tt.before) > 0 && len(after) == 2) {
					t.Errorf("killed at %d, resumed: %v", n, after)
				}
				if first := shiftedTo(t, root); after[first] != "tree "+root {
					t.Errorf("killed at %d: shifted to %d, ranges %v", n, first, after)
				}
				if !r.Killed {
					return
				}
			}
		})
	}
	t.Run("reserve and free", func(t *testing.T) {
		killed := 0
		for n := 1; ; n++ {
			if err := os.RemoveAll(stateDir(t)); err != nil {
				t.Fatal(err)
			}
			r := traced(t, n, "ranges", "reserve", "--first", "1900019712", "mine")
			if owners := rangesOf(t); len(owners) == 0 {
				must(t, "ranges", "reserve", "--first", "1900019712", "mine")
			} else if owners[1900019712] != "reserved mine" {
				t.Errorf("killed at %d: %v", n, owners)
			}
			again := traced(t, n, "ranges", "free", "1900019712")
			if owners := rangesOf(t); len(owners) > 0 {
				must(t, "ranges", "free", "1900019712")
			}
			if left := rangesOf(t); len(left) > 0 {
				t.Errorf("killed at %d: %v", n, left)
			}
			if !r.Killed && !again.Killed {
				break
			}
			killed++
		}
		if killed < 3 {
			t.Errorf("killed at only %d calls", killed)
		}
	})
}

// TestRangeCrashContainer kills the start of a container with an idmapped root file system, and its
// deletion, at each changing system call. The next start succeeds, and nothing is left in the end.
func TestRangeCrashContainer(t *testing.T) {
	dir := filepath.Join(named("tmpfs").newDir(t), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, config := filepath.Join(dir, "rootfs"), filepath.Join(dir, "config.json")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7)})
	command := func(args ...string) []string {
		return append([]string{"runtime", "--runtime", "/bin/true", "--user-remap", "auto", "--mode",
			"idmap", "--"}, args...)
	}
	create, remove := command("create", "--bundle", dir, "crash"), command("delete", "crash")
	killed := 0
	for n := 1; ; n++ {
		text := fmt.Sprintf(`{"root":{"path":%q},"process":{"user":{}},"linux":{}}`, root)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		start := traced(t, n, create...)
		must(t, create...)
		if owners := rangesOf(t); len(owners) == 0 || len(owners) > 2 {
			t.Errorf("start killed at %d: %v", n, owners)
		}
		end := traced(t, n, remove...)
		must(t, remove...)
		must(t, "ranges", "free", "--unused")
		if left := rangesOf(t); len(left) > 0 {
			t.Errorf("killed at %d: %v", n, left)
		}
		if !start.Killed && !end.Killed {
			break
		}
		killed++
	}
	if killed < 8 {
		t.Errorf("killed at only %d calls", killed)
	}
}

// shiftedTo returns the first id to which a tree is shifted, 0 if it is not.
func shiftedTo(t *testing.T, root string) (first uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "plain"), &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid &^ 0xffff
}

// TestRangeElsewhere checks that a tree gets the same range on another host if it is free there,
// and that the error says what to do otherwise.
func TestRangeElsewhere(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o4755, 7, 7)})
	must(t, "shift", "--user-remap", "auto", root)
	first := shiftedTo(t, root)
	// The other host has neither the key nor the registry.
	if err := os.RemoveAll(stateDir(t)); err != nil {
		t.Fatal(err)
	}
	must(t, "shift", "--user-remap", "auto", root)
	if now := shiftedTo(t, root); now != first || rangesOf(t)[first] != "tree "+root {
		t.Errorf("shifted to %d, then %d: %v", first, now, rangesOf(t))
	}
	if err := os.RemoveAll(stateDir(t)); err != nil {
		t.Fatal(err)
	}
	must(t, "ranges", "reserve", "--first", fmt.Sprint(first), "other")
	checkRefused(t, call(t, "shift", "--user-remap", "auto", root), 1, "another host",
		fmt.Sprintf("unshift --uidmap 0:%d:65536 ", first))
	must(t, "unshift", "--uidmap", fmt.Sprintf("0:%d:65536", first), "--gidmap",
		fmt.Sprintf("0:%d:65536", first), root)
	must(t, "shift", "--user-remap", "auto", root)
	if now := shiftedTo(t, root); now == first || rangesOf(t)[now] != "tree "+root {
		t.Errorf("shifted to %d: %v", now, rangesOf(t))
	}
}

// TestRangeUsage checks the command lines of ranges, and of auto.
func TestRangeUsage(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{directory(".", 0o755, 0, 0)})
	must(t, "shift", "--user-remap", "auto:65535", root)
	for _, tt := range []struct {
		code int
		want string
		args []string
	}{
		{2, "ACTION is missing", []string{"ranges"}},
		{2, `action "fly" is none of list`, []string{"ranges", "fly"}},
		{2, `argument "x" is one too many`, []string{"ranges", "list", "x"}},
		{2, "NAME is missing", []string{"ranges", "reserve"}},
		{2, `NAME "" is empty`, []string{"ranges", "reserve", ""}},
		{2, `--size: size "0"`, []string{"ranges", "reserve", "x", "--size", "0"}},
		{2, `--first "x" is no id`, []string{"ranges", "reserve", "x", "--first", "x"}},
		{1, "want a first id that is a multiple of 65536",
			[]string{"ranges", "reserve", "x", "--first", "1900019713"}},
		{1, "in 1879048192-2147352575", []string{"ranges", "reserve", "x", "--first", "65536"}},
		{2, "list does not take --force", []string{"ranges", "list", "--force"}},
		{2, "want FIRST, the first id of a range, or --unused", []string{"ranges", "free"}},
		{2, "want FIRST", []string{"ranges", "free", "1", "--unused"}},
		{1, "no range in the registry", []string{"ranges", "free", "1"}},
		{1, "the tree exists", []string{"ranges", "free", fmt.Sprint(firstOf(t))}},
		{2, `size "65537"`, []string{"shift", "--user-remap", "auto:65537", root}},
		{2, "the maps are recorded with the tree", []string{"unshift", "--user-remap", "auto", root}},
		{2, "the maps are recorded with the tree", []string{"status", "--user-remap", "auto", root}},
	} {
		checkRefused(t, call(t, tt.args...), tt.code, tt.want)
	}
	must(t, "unshift", root)
	must(t, "shift", "--user-remap", "auto:65535", root) // to the same range
	if owners := rangesOf(t); len(owners) != 1 {
		t.Errorf("shifted again: %v", owners)
	}
	must(t, "ranges", "free", "--force", fmt.Sprint(firstOf(t)))
	must(t, "shift", "--user-remap", "auto:65535", root)
	if owners := rangesOf(t); len(owners) != 1 {
		t.Errorf("after the range was freed: %v", owners)
	}
}

// firstOf returns the first id of the only range.
func firstOf(t *testing.T) (first uint32) {
	t.Helper()
	for first = range rangesOf(t) {
	}
	return first
}

// TestRangeMount checks that an idmapped mount of a tree gets the same range each time.
func TestRangeMount(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root, point := filepath.Join(dir, "closed/root"), filepath.Join(dir, "point")
	for _, d := range []string{filepath.Dir(root), point} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	build(t, root, true, []item{directory(".", 0o755, 0, 0), file("plain", 0o644, 7, 7)})
	for range 2 {
		must(t, "mount", "--user-remap", "auto", root, point)
		first := shiftedTo(t, point)
		must(t, "umount", point)
		if owners := rangesOf(t); len(owners) != 1 || owners[first] != "tree "+root {
			t.Errorf("mounted with %d: %v", first, owners)
		}
	}
}
