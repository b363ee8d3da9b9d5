//go:build integration

package lxc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"palisade/test/ctr"
)

// user is a user of the host other than root, with subordinate ids and cgroups.
type user struct {
	id      int
	home    string
	cgroups []string
}

const (
	// userID is the id of the user that testdata/host.sh creates, firstID the first subordinate id of
	// this user and root.
	userID  = 4001
	firstID = 200000
)

// idmap returns lines of a configuration that map the ids of a container to subordinate ids.
func idmap() []string {
	return []string{
		fmt.Sprintf("lxc.idmap = u 0 %d 65536", firstID),
		fmt.Sprintf("lxc.idmap = g 0 %d 65536", firstID),
	}
}

// newUser creates a home directory and cgroups for the user.
func newUser(t *testing.T) *user {
	t.Helper()
	u := &user{id: userID, home: filepath.Join(openDir(t), "home")}
	if err := os.MkdirAll(u.home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := u.own(u.home); err != nil {
		t.Fatal(err)
	}
	u.makeCgroups(t)
	return u
}

const (
	// startScope is the cgroup in which the user starts containers, like a scope of systemd-run, and
	// sessionScope that of other commands: on v2 the former can then hold no process.
	startScope, sessionScope = "run-1.scope", "session-1.scope"
)

// makeCgroups creates cgroups for the user in each hierarchy, as systemd does with Delegate=.
func (u *user) makeCgroups(t *testing.T) {
	t.Helper()
	parents := []string{"/sys/fs/cgroup"}
	if !ctr.OnV2() {
		var err error
		if parents, err = filepath.Glob("/sys/fs/cgroup/*"); err != nil {
			t.Fatal(err)
		}
	}
	for _, parent := range parents {
		dir := filepath.Join(parent, "user.slice")
		t.Cleanup(func() {
			if err := ctr.RemoveCgroups(dir); err != nil {
				t.Error(err)
			}
		})
		u.makeCgroup(t, dir)
		if controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil {
			for name := range strings.FieldsSeq(string(controllers)) {
				file := filepath.Join(dir, "cgroup.subtree_control")
				if err := os.WriteFile(file, []byte("+"+name), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, scope := range []string{startScope, sessionScope} {
			u.makeCgroup(t, filepath.Join(dir, scope))
		}
		u.cgroups = append(u.cgroups, dir)
	}
}

// makeCgroup creates a cgroup that is delegated to the user.
func (u *user) makeCgroup(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if !ctr.OnV2() { // a new cpuset refuses processes
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	delegate, err := os.ReadFile("/sys/kernel/cgroup/delegate")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(strings.Fields(string(delegate)), "", "tasks") { // LXC needs all
		err := os.Chown(filepath.Join(dir, file), u.id, u.id)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// own changes the owner of a tree to the user.
func (u *user) own(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, u.id, u.id)
	})
}

// command returns the command line that runs args as the user, in the user's cgroups.
func (u *user) command(args ...string) []string {
	id, scope := strconv.Itoa(u.id), sessionScope
	if args[0] == "lxc-start" {
		scope = startScope
	}
	script := "for dir in " + strings.Join(u.cgroups, " ") + `; do
	echo 0 >"$dir/` + scope + `/cgroup.procs" || exit 1
done
exec setpriv --reuid ` + id + " --regid " + id + " --clear-groups env HOME=" + u.home + ` "$@"`
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

// TestUserNamespaces checks containers of root with and without an id map, and of another user.
func TestUserNamespaces(t *testing.T) {
	h := newHost(t)
	h.start(t)
	u := newUser(t)
	mapped := append(idmap(), "lxc.include = /usr/share/lxc/config/userns.conf")
	containers := []*container{h.newContainer(t, options{
		name: "palisade-lxc-user", config: mapped, user: u, lxcPath: filepath.Join(u.home, "lxc"),
	})}
	if !isEmulated() {
		containers = append(containers, h.newContainer(t, options{name: "palisade-lxc-root"}),
			h.newContainer(t, options{name: "palisade-lxc-mapped", config: mapped}))
	}
	for _, c := range containers {
		h.checkVirtual(t, c)
	}
	h.checkRows(t, containers...)
	h.stop(t)
	for _, c := range containers {
		h.checkHost(t, c)
	}
	h.start(t)
	for _, c := range containers {
		h.checkVirtual(t, c)
	}
	h.checkRows(t, containers...)
}
