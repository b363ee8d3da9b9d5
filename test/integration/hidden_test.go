//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/sys"
	"palisade/test/ctr"
)

// mountFigures enters a namespace with a thread that ends there. It must not be the main thread,
// which /proc/self shows.
func init() { runtime.LockOSThread() }

// TestContainersAreHidden checks that only root on the host can find the directory of containers,
// also while the kernel caches it.
func TestContainersAreHidden(t *testing.T) {
	victim := limited(t, ctr.Options{})
	path := filepath.Join(figuresDir(shared.daemon), strconv.Itoa(victim.PID), "meminfo")
	shown := fmt.Sprintf(" %d kB", limit/1024)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for ; !ctr.IsClosed(stop); time.Sleep(time.Millisecond) {
			if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), shown) {
				t.Errorf("the host reads %q, %v", text, err)
				return
			}
		}
	})
	// The script must print nothing.
	try := strings.NewReplacer("DIR", ctr.MountDir+"/containers", "PID", strconv.Itoa(victim.PID)).Replace(`
for dir in DIR /tmp/figures; do
	cat $dir/PID/meminfo $dir/1/meminfo; ls -a $dir | grep '^[0-9]'; ls $dir/PID; find $dir -mindepth 1 -name '[0-9p]*'
done 2>/dev/null
ls -a ` + ctr.MountDir + ` | grep -x containers; ls -d DIR 2>/dev/null; true`)
	for name, o := range map[string]ctr.Options{
		"plain": {}, "cgroup namespace": {CgroupNamespace: true}, "user namespace": {UserOffset: 200000},
		"the host's pid namespace": {HostPID: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := limited(t, o)
			mountFigures(t, c)
			for range 20 {
				if out := inside(t, c, "sh", "-c", try); out != "" {
					t.Fatalf("the container sees %q, want nothing", out)
				}
			}
		})
	}
	script := []string{"sh", "-c", `cat "$0"; ls -a "$1"; ls -a "$1/.." | grep -x containers; echo end`, path, figuresDir(shared.daemon)}
	for name, args := range map[string][]string{
		"another user":             {},
		"root of a user namespace": {"unshare", "-U", "-r"},
		"a mount namespace":        {"unshare", "-m"},
		"a pid namespace":          {"unshare", "-p", "-f"},
		"a container's":            {"nsenter", "-t", strconv.Itoa(victim.PID), "-p"},
	} {
		args = append(args, script...)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		if name == "another user" {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if out, err := cmd.Output(); string(out) != "end\n" || err != nil {
			t.Errorf("%s sees %q, %v, want nothing", name, out, err)
		}
	}
}

// mountFigures mounts the directory in the container by descriptors: its path is hidden there.
func mountFigures(t *testing.T, c *ctr.Container) {
	t.Helper()
	inside(t, c, "mkdir", "/tmp/figures")
	directory, err := sys.OpenPath(figuresDir(shared.daemon))
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	tree, err := directory.CloneMount()
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	root, err := sys.OpenPath(filepath.Join("/proc", strconv.Itoa(c.PID), "root/tmp/figures"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ns, err := sys.Open(filepath.Join("/proc", strconv.Itoa(c.PID), "ns/mnt"))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := sys.InMountNamespace(ns, func(*sys.NamespaceThread) error { return tree.MoveMount(root, false) }); err != nil {
		t.Fatal(err)
	}
	if table := hostFile(t, filepath.Join("/proc", strconv.Itoa(c.PID), "mountinfo")); !strings.Contains(table, "/tmp/figures") {
		t.Fatalf("nothing is mounted: %s", table)
	}
}
