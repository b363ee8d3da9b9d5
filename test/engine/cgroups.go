package engine

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/ctr"
)

// MakeCgroups calls NewCgroups with a unique name, and removes the cgroups after the test.
func MakeCgroups(t testing.TB, name string) []string {
	t.Helper()
	dirs, err := NewCgroups(fmt.Sprintf("%s-%08x", name, rand.Uint32()))
	t.Cleanup(func() {
		if err := ctr.RemoveCgroups(dirs...); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// NewCgroups creates a cgroup in each hierarchy, for EnterCgroups.
func NewCgroups(name string) (dirs []string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		_, kind, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(kind, "cgroup") {
			continue
		}
		dir := filepath.Join(fields[4], name)
		if err := ctr.MakeCgroup(dir); err != nil && !os.IsExist(err) {
			return dirs, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// EnterCgroups is a shell script that enters the cgroups in its arguments up to --, and executes
// the other arguments in a new cgroup namespace. The caller stays outside: on v2 a cgroup with
// controllers in its children can hold no process.
const EnterCgroups = `while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec unshare --cgroup "$@"`

// MountCgroups is a shell script that mounts the hierarchies on the directory $1, each from this
// process's cgroup on.
//
//go:embed cgroups.sh
var MountCgroups string
