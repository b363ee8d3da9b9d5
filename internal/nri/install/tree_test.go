package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func files(text string) map[string][]byte {
	return map[string][]byte{"lxcfs": []byte(text), Unit: []byte("[Unit]\n")}
}

func mustAdd(t *testing.T, tr tree, version, text string) string {
	t.Helper()
	name, err := tr.add(version, files(text))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func newTree(t *testing.T) tree {
	t.Helper()
	tr := tree{filepath.Join(t.TempDir(), "palisade")}
	if err := tr.create(); err != nil {
		t.Fatal(err)
	}
	return tr
}

func list(t *testing.T, tr tree) string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*", "versions/*", "versions/*/*"} {
		found, err := filepath.Glob(filepath.Join(tr.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return strings.ReplaceAll(strings.Join(names, " "), tr.dir+"/", "")
}

func TestVersions(t *testing.T) {
	tr := newTree(t)
	one, two := mustAdd(t, tr, "v1/x y", "one"), mustAdd(t, tr, "v1/x y", "two")
	if one == two || !strings.HasPrefix(one, "v1_x_y-") || mustAdd(t, tr, "v1/x y", "one") != one {
		t.Errorf("versions %s and %s", one, two)
	}
	if got := tr.currentVersion(); got != "" {
		t.Errorf("current version is %q before the switch", got)
	}
	for _, name := range []string{one, two, two} {
		if err := tr.switchTo(name); err != nil {
			t.Fatal(err)
		}
		if got := tr.currentVersion(); got != name {
			t.Errorf("current version is %q, want %q", got, name)
		}
	}
	if err := tr.prune(); err != nil {
		t.Fatal(err)
	}
	path := "versions/" + two
	want := strings.Join([]string{"current versions", path, path + "/lxcfs", path + "/" + Unit}, " ")
	if got := list(t, tr); got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
	if err := tr.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tr.dir); !os.IsNotExist(err) {
		t.Errorf("removed: %v", err)
	}
}

// TestInterrupted begins with what killed processes have left, at each step.
func TestInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(tr tree, version string) error
	}{
		{"part of a version", func(tr tree, version string) error {
			part := filepath.Join(tr.versions(), version+newSuffix)
			if err := os.Mkdir(part, 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(part, "lxcfs"), []byte("o"), 0o600)
		}},
		{"a link", func(tr tree, _ string) error {
			return os.Symlink("versions/none", filepath.Join(tr.dir, currentLink+newSuffix))
		}},
		{"a current version that was removed", func(tr tree, _ string) error {
			return os.Symlink("versions/none", filepath.Join(tr.dir, currentLink))
		}},
		{"a damaged version", func(tr tree, version string) error {
			if err := os.Mkdir(filepath.Join(tr.versions(), version), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(tr.versions(), version, "lxcfs"), nil, 0o755)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			version := mustAdd(t, newTree(t), "v1", "one")
			tr := newTree(t)
			if err := tt.leave(tr, version); err != nil {
				t.Fatal(err)
			}
			if got := tr.currentVersion(); got != "" {
				t.Errorf("current version is %q", got)
			}
			if mustAdd(t, tr, "v1", "one") != version {
				t.Error("another name")
			}
			if err := tr.switchTo(version); err != nil {
				t.Fatal(err)
			}
			if err := tr.prune(); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"lxcfs", Unit} {
				info, err := os.Stat(tr.current(file))
				if err != nil || info.Mode() != 0o755 || info.Size() == 0 {
					t.Errorf("%s: %v, %v", file, info, err)
				}
			}
			if got := list(t, tr); strings.Count(got, " ") != 4 {
				t.Errorf("left: %s", got)
			}
		})
	}
}

func TestSharedDirectory(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil { // whatever the umask
		t.Fatal(err)
	}
	err := tree{filepath.Join(shared, "palisade")}.create()
	if err == nil || !strings.Contains(err.Error(), "users other than root can change "+shared) {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := (tree{filepath.Join(shared, "palisade")}).create(); err != nil {
		t.Errorf("in a sticky directory: %v", err)
	}
}

// TestRemoveKeepsOthers removes an installation from a directory that has other files.
func TestRemoveKeepsOthers(t *testing.T) {
	tr := newTree(t)
	if err := tr.switchTo(mustAdd(t, tr, "v1", "one")); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(tr.dir, "other")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tr.remove(); err != nil {
			t.Fatal(err)
		}
		if got := list(t, tr); got != "other" {
			t.Errorf("left: %s", got)
		}
	}
}

func TestIsDir(t *testing.T) {
	for dir, want := range map[string]bool{
		"/opt/palisade": true, "/opt/palisade-1.2_x": true, "/": false, "opt": false, "/opt/": false,
		"/opt/../x": false, "/opt/a b": false, "/opt/%h": false, "/opt/$x": false, "": false,
	} {
		if got := IsDir(dir); got != want {
			t.Errorf("IsDir(%q) = %v", dir, got)
		}
	}
}
