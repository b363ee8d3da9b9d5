//go:build integration

package toolkit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// lxcUser is the id of a user of the host with containers, lxcUserID the first subordinate id.
const (
	lxcUser   = 4242
	lxcUserID = 200000
)

// lxc is a container of liblxc.
type lxc struct {
	name, dir string
	pid       int
	// user is the id of its owner on the host.
	user int
}

// lxcRootfs creates a root file system for containers of liblxc, with a directory for lxcfs as in
// Debian's.
func lxcRootfs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(lxcDir(t), "rootfs")
	if out, err := exec.Command("cp", "-a", shared.rootfs, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(dir, "var/lib/lxcfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lxcDir creates a directory that all users can reach.
func lxcDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "lxc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lxcName returns a unique name.
func lxcName(name string) string { return fmt.Sprintf("palisade-%08x-%s", rand.Uint32(), name) }

// startLXC starts a container of a user with 64 MiB, without files of lxcfs. It is stopped after
// the test.
func startLXC(t *testing.T, name, rootfs string, user int, config ...string) *lxc {
	t.Helper()
	c := &lxc{name: name, dir: lxcDir(t), user: user}
	limit := "lxc.cgroup.memory.limit_in_bytes = 64M"
	if ctr.OnV2() {
		limit = "lxc.cgroup2.memory.max = 64M"
	}
	config = append([]string{
		"lxc.uts.name = c", "lxc.rootfs.path = dir:" + rootfs, "lxc.init.cmd = /bin/sleep 1000000",
		"lxc.net.0.type = empty", "lxc.mount.auto = proc:rw sys:ro",
		"lxc.apparmor.profile = unconfined", limit,
	}, config...)
	if err := os.Mkdir(filepath.Join(c.dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(config, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(c.dir, name, "config"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{c.dir, filepath.Join(c.dir, name)} {
		if err := os.Chown(dir, user, user); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(c.dir, "log")
	if out, err := c.run("lxc-start", "--logfile", log, "--logpriority", "INFO"); err != nil {
		text, _ := os.ReadFile(log) // for the message only
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
	t.Cleanup(func() {
		if out, err := c.run("lxc-stop", "--kill"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	out, err := c.run("lxc-info", "--pid", "--no-humanize")
	if err == nil {
		c.pid, err = strconv.Atoi(strings.TrimSpace(out))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a program of liblxc for the container, as its user.
func (c *lxc) run(program string, args ...string) (string, error) {
	line := append([]string{program, "--lxcpath", c.dir, "--name", c.name}, args...)
	if c.user != 0 {
		id := strconv.Itoa(c.user)
		line = append([]string{
			"sh", "-c", "for d in " + strings.Join(lxcUserCgroups, " ") + `; do echo $$ >$d/cgroup.procs; done
exec "$@"`, "sh", "setpriv", "--reuid", id, "--regid", id, "--clear-groups",
		}, line...)
	}
	cmd := exec.Command("timeout", append([]string{"30"}, line...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_RUNTIME_DIR="+c.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// inside runs a shell script in the container.
func (c *lxc) inside(t *testing.T, script string) string {
	t.Helper()
	args := []string{"20", "nsenter", "-t", strconv.Itoa(c.pid), "-m", "-p", "/bin/sh", "-c", script}
	out, err := exec.Command("timeout", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %q: %v: %s", c.name, script, err, out)
	}
	return string(out)
}

// id returns the container's id in the output of list.
func (c *lxc) id() string {
	if c.user == 0 {
		return c.name
	}
	return fmt.Sprintf("%d/%s", c.user, c.name)
}

// check checks that the container has all files, of the running lxcfs, or none.
func (c *lxc) check(t *testing.T, when string, h *host, want bool) {
	t.Helper()
	text := c.inside(t, "head -n 1 /proc/meminfo; cat /proc/uptime /proc/stat >/dev/null")
	if got := strings.HasPrefix(text, "MemTotal:          65536 kB"); got != want {
		t.Errorf("%s: %s reads %q", when, c.name, text)
	}
	all := 0
	if want {
		all = len(h.served(t))
	}
	if got := fileMounts(t, strconv.Itoa(c.pid)); len(got) != all {
		t.Errorf("%s: %s has %d files, want %d: %q", when, c.name, len(got), all, got)
	}
}

// fileMounts returns the mount points of lxcfs in a process's namespace, without those of the whole
// tree.
func fileMounts(t *testing.T, pid string) []string {
	t.Helper()
	return slices.DeleteFunc(lxcfsMounts(t, pid), func(point string) bool {
		return !strings.HasPrefix(point, "/proc/") && !strings.HasPrefix(point, "/sys/")
	})
}

// lxcUserCgroups lists the cgroups that are delegated to the user.
var lxcUserCgroups []string

// lxcUserSetup sets up subordinate ids and cgroups, with which a user of the host can start
// containers.
func lxcUserSetup(t *testing.T) {
	t.Helper()
	engine.OwnCopy(t, "/etc")
	for file, line := range map[string]string{
		"/etc/passwd": "palisade-lxc:x:%d:%[1]d::/:/bin/sh\n",
		"/etc/subuid": "palisade-lxc:%[2]d:65536\nroot:100000:65536\n",
		"/etc/subgid": "palisade-lxc:%[2]d:65536\nroot:100000:65536\n",
	} {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		line = fmt.Sprintf(line+"%.0[1]d%.0[2]d", lxcUser, lxcUserID)
		if err := os.WriteFile(file, append(text, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lxcUserCgroups = engine.MakeCgroups(t, "palisade-lxc-user")
	for _, dir := range lxcUserCgroups {
		cmd := exec.Command("chown", "-R", strconv.Itoa(lxcUser), dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// TestLXC checks containers of liblxc that start without lxcfs: of root, with a user namespace, and
// of another user with the name of a container of root.
func TestLXC(t *testing.T) {
	engine.Need(t, "lxc-start", "newuidmap")
	lxcUserSetup(t)
	h := newHost(t)
	rootfs := lxcRootfs(t)
	idmap := func(first int) []string {
		return []string{
			fmt.Sprintf("lxc.idmap = u 0 %d 65536", first), fmt.Sprintf("lxc.idmap = g 0 %d 65536", first),
		}
	}
	privileged := startLXC(t, lxcName("root"), rootfs, 0)
	mapped := startLXC(t, lxcName("mapped"), rootfs, 0, idmap(100000)...)
	users := startLXC(t, privileged.name, rootfs, lxcUser, idmap(lxcUserID)...)
	all := []*lxc{privileged, mapped, users}
	// Mount namespaces inside, as of systemd's services and nested containers, are not listed.
	privileged.inside(t, `unshare -m sleep 1000 >/dev/null 2>&1 &
unshare -mpf --mount-proc sleep 1000 >/dev/null 2>&1 &`)
	checkList := func(when string) {
		t.Helper()
		var l struct{ Containers []struct{ ID, Engine string } }
		if err := json.Unmarshal([]byte(h.must(t, "list", "--json").Stdout), &l); err != nil {
			t.Fatal(err)
		}
		var ids, want []string
		for _, c := range l.Containers {
			ids = append(ids, c.Engine+" "+c.ID)
		}
		for _, c := range all {
			want = append(want, "lxc "+c.id())
		}
		slices.Sort(ids)
		slices.Sort(want)
		if !slices.Equal(ids, want) {
			t.Errorf("%s: listed %q, want %q", when, ids, want)
		}
	}
	check := func(when string, want bool) {
		t.Helper()
		checkList(when)
		for _, c := range all {
			c.check(t, when, h, want)
		}
	}
	checkList("without lxcfs")
	h.start(t)
	check("before remount", false)
	h.must(t, "remount", "--all")
	check("after remount", true)
	checkUnchanged(t, h.report(t, "remount", "--all"), 3)
	out := h.must(t, "top", "--once", "--interval", "100ms").Stdout
	if strings.Count(out, privileged.name) < 2 {
		t.Errorf("top shows\n%s", out)
	}
	h.must(t, "umount", "--all")
	h.stop(t)
	h.start(t)
	check("after stop and start", false)
	h.must(t, "remount", "--all")
	check("after stop, start and remount", true)
	h.kill(t)
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all")
	check("after a crash and remount", true)

	// The name selects root's container.
	h.must(t, "umount", "--container-id", privileged.name)
	privileged.check(t, "after umount by its name", h, false)
	users.check(t, "after umount of root's", h, true)
	h.must(t, "umount", "--container-id", users.id())
	users.check(t, "after umount by its id", h, false)
	mapped.check(t, "after umount of others", h, true)
}

// TestLXCNesting checks that a new lxcfs replaces the whole tree of a dead one in a container,
// where liblxc's hook binds it, and in a nested container.
func TestLXCNesting(t *testing.T) {
	engine.Need(t, "lxc-start")
	h := newHost(t)
	h.start(t)
	rootfs := lxcRootfs(t)
	c := startLXC(t, lxcName("outer"), rootfs, 0,
		"lxc.mount.entry = "+h.mountpoint+" var/lib/lxcfs none bind,create=dir 0 0")
	h.must(t, "remount", "--all")
	c.inside(t, `cat >/tmp/inner <<'E'
umount -l /proc
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lxcfs
mount -o bind /var/lib/lxcfs /mnt/lxcfs
mount -o bind /var/lib/lxcfs/proc/meminfo /proc/meminfo
echo ready >/tmp/ready
exec sleep 1000
E
mkdir -p /mnt; unshare -mpf sh /tmp/inner >/dev/null 2>&1 &
while [ ! -e /tmp/ready ]; do sleep 0.1; done`)
	pids, err := exec.Command("pgrep", "-f", "^sleep 1000$").Output()
	if err != nil {
		t.Fatal(err)
	}
	inner := strings.Fields(string(pids))[0]
	check := func(when string) {
		t.Helper()
		c.check(t, when, h, true)
		c.inside(t, "head -n 1 /var/lib/lxcfs/proc/meminfo | grep -q 65536")
		script := "head -n 1 /mnt/lxcfs/proc/meminfo && head -n 1 /proc/meminfo"
		cmd := exec.Command("nsenter", "-t", inner, "-m", "-p", "sh", "-c", script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: the inner container: %v: %s", when, err, out)
		}
	}
	check("at first")
	for range 2 {
		h.kill(t)
		if got := h.deadOf(t, c.id()); !slices.Contains(got, "/var/lib/lxcfs") {
			t.Errorf("after a crash: listed as dead %q, want /var/lib/lxcfs", got)
		}
		unmount(t, h.mountpoint)
		h.start(t)
		h.must(t, "remount", "--all")
		check("after a crash and remount")
		checkUnchanged(t, h.report(t, "remount", "--all"), 1)
	}
	h.kill(t)
	h.must(t, "umount", "--all")
	for _, pid := range []string{strconv.Itoa(c.pid), inner} {
		if got := lxcfsMounts(t, pid); len(got) != 0 {
			t.Errorf("mounts remain after umount: %q", got)
		}
	}
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all")
	c.check(t, "after umount and remount", h, true)
	c.inside(t, "head -n 1 /var/lib/lxcfs/proc/meminfo | grep -q 65536")
}

// checkUnchanged checks a report of n unchanged containers.
func checkUnchanged(t *testing.T, r report, n int) {
	t.Helper()
	if len(r.Containers) != n {
		t.Errorf("got %d containers in the report, want %d", len(r.Containers), n)
	}
	for _, c := range r.Containers {
		if c.Outcome != "unchanged" {
			t.Errorf("remount reports %+v", c)
		}
	}
}

// startShell starts a shell script, waits until it prints "ready", and kills it after the test.
func startShell(t *testing.T, script string) int {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	if line := ctr.StartReady(t, cmd); line != "ready\n" {
		t.Fatalf("the script prints %q", line)
	}
	return cmd.Process.Pid
}

// TestShortProcesses checks that a mount namespace is found in which the processes with the lowest
// pids are short-lived.
func TestShortProcesses(t *testing.T) {
	h := newHost(t)
	h.start(t)
	last := "/proc/sys/kernel/ns_last_pid"
	if err := os.WriteFile(last, []byte("20000"), 0); err != nil {
		t.Fatal(err)
	}
	bind := "mount -o bind " + h.mountpoint + "/proc/uptime /proc/uptime"
	pid := startShell(t, "exec unshare -m sh -c '"+bind+
		"; echo ready; while :; do echo 300 >"+last+"; /bin/true; /bin/true; done'")
	for range ctr.Repeat(20, 60) {
		if out := h.must(t, "list", "--json").Stdout; !strings.Contains(out, "/proc/uptime") {
			t.Fatalf("/proc/uptime is not listed: %s", out)
		}
	}
	for range ctr.Repeat(7, 20) {
		r := h.report(t, "umount", "--all")
		if len(r.Containers) != 1 || r.Containers[0].Outcome != "done" {
			t.Fatalf("umount reports %+v", r)
		}
		if got := fileMounts(t, strconv.Itoa(pid)); len(got) != 0 {
			t.Fatalf("mounts remain after umount: %q", got)
		}
		cmd := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-m", "sh", "-c", bind)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// TestPropagation checks mount namespaces that propagate mounts to each other.
func TestPropagation(t *testing.T) {
	h := newHost(t)
	h.start(t)
	file := h.mountpoint + "/proc/uptime"
	first := startShell(t, `exec unshare -m sh -c 'mount -t proc proc /proc; mount --make-shared /proc
mount -o bind `+file+` /proc/uptime
for how in unchanged unchanged slave slave; do unshare -m --propagation $how sleep 1000000 & done
sleep 0.3; echo ready; wait'`)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", first))
	pids := append(strings.Fields(string(children)), strconv.Itoa(first))
	if err != nil || len(pids) != 5 {
		t.Fatalf("processes %q, %v", pids, err)
	}
	t.Cleanup(func() {
		for _, pid := range pids[:4] {
			exec.Command("kill", pid).Run() // may have exited
		}
	})
	check := func(round, want int) {
		t.Helper()
		for _, pid := range pids {
			if got := fileMounts(t, pid); len(got) != want {
				t.Errorf("round %d: %s has %d mounts, want %d: %q", round, pid, len(got), want, got)
			}
		}
	}
	for round := range 8 {
		h.kill(t)
		unmount(t, h.mountpoint)
		h.start(t)
		if round%2 == 0 {
			h.must(t, "remount", "--all")
			check(round, len(h.served(t)))
			continue
		}
		h.must(t, "umount", "--all")
		check(round, 0)
		cmd := exec.Command("nsenter", "-t", strconv.Itoa(first), "-m",
			"mount", "-o", "bind", file, "/proc/uptime")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// TestDeadOther checks that remount replaces files of a dead lxcfs that was mounted elsewhere on
// the host, although its mount still exists.
func TestDeadOther(t *testing.T) {
	other, h := newHost(t), newHost(t)
	other.start(t)
	c := other.container(t, ctr.Options{Memory: 64 * mib})
	other.kill(t)
	h.start(t)
	h.must(t, "remount", "--all")
	checkVirtual(t, h, c, 64*mib)
	unmount(t, other.mountpoint)
}
