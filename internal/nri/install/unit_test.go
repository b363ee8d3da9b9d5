package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
)

// TestUnit compares the unit with testdata, where changes of the package's unit show.
func TestUnit(t *testing.T) {
	text := unitText("/opt/palisade/current")
	golden.Check(t, "testdata/"+Unit, text)
	for _, absent := range []string{"/usr/", "remount", "/run/lxcfs.pid"} {
		if strings.Contains(text, absent) {
			t.Errorf("the unit contains %s", absent)
		}
	}
}

func TestWriteUnit(t *testing.T) {
	dirs := unitDirs{filepath.Join(t.TempDir(), "etc"), filepath.Join(t.TempDir(), "run")}
	for _, want := range []bool{true, false} {
		changed, isVolatile, err := dirs.write("text")
		if err != nil || changed != want || isVolatile {
			t.Errorf("changed %v, volatile %v, %v", changed, isVolatile, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dirs[0], Unit)); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	if err := dirs.remove(); err != nil || dirs.exists() {
		t.Errorf("removed: %v", err)
	}
}
