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

// MakeCgroups calls NewCgroups with a unique name.
func MakeCgroups(t testing.TB, name string) []string {
	t.Helper()
	dirs, err := NewCgroups(fmt.Sprintf("%s-%08x", name, rand.Uint32()))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// NewCgroups creates a cgroup in each hierarchy, for EnterCgroups. Remove them with RemoveCgroups.
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
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 refuses processes without
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

// EnterCgroups is a shell script that enters the cgroups in its arguments up to --, and executes
// the other arguments in a new cgroup namespace. The caller stays outside: on v2 a cgroup with
// controllers in its children can hold no process.
const EnterCgroups = `while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec unshare --cgroup "$@"`

// MountCgroups is a shell script that mounts the hierarchies on the directory $1, each from this
// process's cgroup on.
//
//go:embed cgroups.sh
var MountCgroups string

// RemoveCgroups removes a cgroup and its descendants that have no processes.
func RemoveCgroups(dir string) {
	entries, _ := os.ReadDir(dir) // may be removed concurrently
	for _, entry := range entries {
		if entry.IsDir() {
			RemoveCgroups(filepath.Join(dir, entry.Name()))
		}
	}
	syscall.Rmdir(dir) // callers retry
}
