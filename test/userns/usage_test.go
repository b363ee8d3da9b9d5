//go:build integration

package userns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsage checks that usage errors give one line on stderr and exit code 2, other errors exit
// code 1, and that nothing is changed.
func TestUsage(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, small())
	link := filepath.Join(filepath.Dir(root), "link")
	if err := os.Symlink("root", link); err != nil {
		t.Fatal(err)
	}
	before := takeDump(t, root, true)
	for _, tt := range []struct {
		code int
		want string
		args []string
	}{
		{2, "ROOT is missing", []string{"shift", "--user-remap", remap}},
		{2, "not the path of a directory", []string{"shift", "--user-remap", remap, ""}},
		{2, "one too many", []string{"shift", "--user-remap", remap, root, root}},
		{2, "the maps are missing", []string{"shift", root}},
		{2, "only one of", []string{"shift", "--user-remap", remap, "--pid", "1", root}},
		{2, "belong together", []string{"shift", "--uidmap", "0:100000:5", root}},
		{2, "overlap", []string{"shift", "--uidmap", "0:100000:5", "--uidmap", "0:200000:5", "--gidmap",
			"0:100000:5", root}},
		{2, `host uid "0x10" is no decimal number`, []string{"shift", "--user-remap", "0x10:1:1", root}},
		{2, `host gid "+5" is no decimal number`, []string{"shift", "--user-remap", "5:+5:1", root}},
		{2, `id offset " 5" is no decimal number`, []string{"shift", "--user-remap", "5:5: 5", root}},
		{2, `host gid "" is empty`, []string{"shift", "--user-remap", "5::5", root}},
		{2, "has 4 fields", []string{"shift", "--user-remap", "5:5:5:5", root}},
		{2, `"4294967295" is larger`, []string{"shift", "--user-remap", "4294967295:5:5", root}},
		{2, "want greater than 0 and less than 65536", []string{"shift", "--user-remap", "5:5:0", root}},
		{2, "want greater than 0 and less than 65536",
			[]string{"shift", "--user-remap", "5:5:65536", root}},
		{2, "uid+offset is 4294967296", []string{"shift", "--user-remap", "4294901761:5:65535", root}},
		{2, "--unmapped", []string{"shift", "--user-remap", remap, "--unmapped", "squash=ID", root}},
		{2, "--unmapped", []string{"shift", "--user-remap", remap, "--unmapped", "squash=4294967295",
			root}},
		{2, "--immutable", []string{"shift", "--user-remap", remap, "--immutable", "so", root}},
		{2, "--hardlinks", []string{"shift", "--user-remap", remap, "--hardlinks", "so", root}},
		{2, "--caps", []string{"shift", "--user-remap", remap, "--caps", "v4", root}},
		{2, "--jobs", []string{"shift", "--user-remap", remap, "--jobs", "0", root}},
		{2, "--lock-timeout", []string{"shift", "--user-remap", remap, "--lock-timeout", "-1", root}},
		{2, "--lock-timeout", []string{"shift", "--user-remap", remap, "--lock-timeout", "NaN", root}},
		{2, "--progress", []string{"shift", "--user-remap", remap, "--progress", "so", root}},
		{2, "so", []string{"shift", "--so", root}},
		{2, "not isulad", []string{"check", "--user-remap", remap, "--engine", "so", root}},
		{1, "no such file", []string{"shift", "--user-remap", remap, root + "/nothing"}},
		{1, "not a directory", []string{"shift", "--user-remap", remap, root + "/plain"}},
		{1, "not a symbolic link", []string{"shift", "--user-remap", remap, link}},
		{1, "no shift is recorded", []string{"unshift", root}},
		{1, "no shift is recorded", []string{"verify", root}},
		{1, "a directory of the system", []string{"shift", "--user-remap", remap, "/usr"}},
		{1, "a directory of the system", []string{"shift", "--user-remap", remap, "//."}},
		{1, "which has no files", []string{"shift", "--user-remap", remap, "/proc/sys"}},
		{1, "", []string{"shift", "--bundle", root, root}},
		{1, "", []string{"shift", "--pid", "999999999", root}},
	} {
		r := call(t, tt.args...)
		if r.code != tt.code || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" ||
			!strings.Contains(r.stderr, tt.want) {
			t.Errorf("%q: %+v, want exit code %d and %q", tt.args, r, tt.code, tt.want)
		}
	}
	for _, value := range []string{"0:100000:65535", "100000:0:65535", "0:0:1"} {
		if r := must(t, "shift", "--user-remap", value, root); !strings.Contains(r.stdout,
			"has no effect") {
			t.Errorf("%s: %+v", value, r)
		}
	}
	checkDump(t, "mistakes", takeDump(t, root, true), before)
}
