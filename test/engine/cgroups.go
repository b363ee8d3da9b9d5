package engine

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// MakeCgroups makes cgroups for a test by NewCgroups, with a name of their own.
func MakeCgroups(t testing.TB, name string) []string {
	t.Helper()
	dirs, err := NewCgroups(fmt.Sprintf("%s-%08x", name, rand.Uint32()))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// NewCgroups makes a cgroup of this name in each hierarchy, which processes may take for the root by
// EnterCgroups. The caller removes them by RemoveCgroups.
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
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			return dirs, err
		}
		dirs = append(dirs, dir)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 lets no process in before
			text, err := os.ReadFile(filepath.Join(fields[4], file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
				return dirs, err
			}
		}
	}
	return dirs, nil
}

// EnterCgroups is a shell's script that enters the cgroups $1 to --, takes them for the roots, and becomes the rest. Whoever started it
// stays outside: on v2 no process may be where there are cgroups with controllers.
const EnterCgroups = `while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec unshare --cgroup "$@"`

// MountCgroups is a shell's script that mounts the hierarchies that this process is in at the directory
// $1, each from its own cgroup on.
//
//go:embed cgroups.sh
var MountCgroups string

// RemoveCgroups removes the cgroups without processes, the innermost first.
func RemoveCgroups(dir string) {
	entries, _ := os.ReadDir(dir) // they may go by themselves
	for _, entry := range entries {
		if entry.IsDir() {
			RemoveCgroups(filepath.Join(dir, entry.Name()))
		}
	}
	syscall.Rmdir(dir) // it is tried again
}
