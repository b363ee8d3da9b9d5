//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

const limit = 96 * mib

// seen returns MemTotal in a reader's meminfo.
func seen(t *testing.T, text string) uint64 {
	t.Helper()
	return field(t, text, "MemTotal")
}

// limited starts a container with a memory limit that identifies its view.
func limited(t *testing.T, o ctr.Options) *ctr.Container {
	t.Helper()
	if o.Memory == 0 {
		o.Memory = limit
	}
	return start(t, o)
}

func TestReaders(t *testing.T) {
	host := seen(t, hostFile(t, "/proc/meminfo"))
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, cgroupNS := range []bool{false, true} {
			c := limited(t, ctr.Options{Runtime: runtime, CgroupNamespace: cgroupNS})
			t.Run(fmt.Sprintf("cgroup namespace %v", cgroupNS), func(t *testing.T) {
				readers := []struct {
					name string
					args []string
				}{
					{"exec", []string{"cat", "/proc/meminfo"}},
					{"a nested pid namespace", []string{"unshare", "-p", "-f", "cat", "/proc/meminfo"}},
					{"two of them", []string{"unshare", "-p", "-f", "unshare", "-p", "-f", "cat", "/proc/meminfo"}},
					{"a new mount namespace", []string{"unshare", "-m", "cat", "/proc/meminfo"}},
					{"the file in lxcfs's mount", []string{"cat", ctr.MountDir + "/proc/meminfo"}},
					{"another thread", []string{"load", "check", "0", "1", "/proc/meminfo"}},
				}
				for _, r := range readers {
					out := inside(t, c, r.args...)
					if r.args[0] == "load" {
						continue // load checks the texts
					}
					if got := seen(t, out); got != limit {
						t.Errorf("%s: MemTotal %d, want %d", r.name, got, limit)
					}
				}
				// A process of the host in all namespaces of the container, but in its own cgroup.
				out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.PID), "-m", "-u", "-i", "-n", "-p", "cat", "/proc/meminfo").Output()
				if err != nil {
					t.Fatal(err)
				}
				if got := seen(t, string(out)); got != limit {
					t.Errorf("nsenter: MemTotal %d, want %d", got, limit)
				}
			})
		}
		t.Run("a pid namespace on the host", func(t *testing.T) {
			out, err := exec.Command("unshare", "-p", "-f", "cat", filepath.Join(shared.daemon.Mountpoint, "proc/meminfo")).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := seen(t, string(out)); got > host {
				t.Errorf("MemTotal %d, want at most the host's %d", got, host)
			}
		})
	})
}

// TestInitMoves checks that a container's limits hold after its init has moved to a child cgroup,
// as systemd and docker-in-docker do.
func TestInitMoves(t *testing.T) {
	for _, cgroupNS := range []bool{false, true} {
		for _, sub := range []string{"init.scope", "init"} {
			if sub == "init" && !cgroupNS {
				continue // nothing shows that the container is more than init's cgroup
			}
			for _, when := range []string{"before the first read", "after it"} {
				t.Run(fmt.Sprintf("%s %s, cgroup namespace %v", sub, when, cgroupNS), func(t *testing.T) {
					c := limited(t, ctr.Options{CgroupNamespace: cgroupNS, Quota: 50000})
					if when == "after it" {
						inside(t, c, "cat", "/proc/meminfo")
					}
					moveInit(t, c, sub)
					if got := memory(t, c, "MemTotal"); got != limit {
						t.Errorf("MemTotal %d, want %d", got, limit)
					}
					time.Sleep(1100 * time.Millisecond) // until the daemon looks up init's cgroup again
					if got := memory(t, c, "MemTotal"); got != limit {
						t.Errorf("later: MemTotal %d, want %d", got, limit)
					}
					if got := processors(inside(t, c, "cat", "/proc/cpuinfo")); got != 1 {
						t.Errorf("%d processors, want 1", got)
					}
				})
			}
		}
	}
}

// moveInit moves the container's init into a child of its cgroup in all hierarchies.
func moveInit(t *testing.T, c *ctr.Container, sub string) {
	t.Helper()
	controllers := []string{"memory", "cpu", "cpuacct", "cpuset", "pids"}
	if ctr.OnV2() {
		controllers = []string{""}
	}
	for _, controller := range controllers {
		dir, err := c.Cgroup(controller)
		if err != nil {
			t.Fatal(err)
		}
		below := filepath.Join(dir, sub)
		if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, os.ErrExist) { // cpu and cpuacct may be joint
			t.Fatal(err)
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil && controller == "cpuset" {
				write(t, filepath.Join(below, name), string(text))
			}
		}
		write(t, filepath.Join(below, "cgroup.procs"), strconv.Itoa(c.PID))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// TestSharedPIDNamespace checks that containers in one pid namespace each see their own limits.
func TestSharedPIDNamespace(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		first := limited(t, ctr.Options{Runtime: runtime})
		second := limited(t, ctr.Options{Runtime: runtime, JoinPID: first.PID, Memory: 64 * mib})
		for _, each := range []struct {
			c    *ctr.Container
			want uint64
		}{{first, limit}, {second, 64 * mib}, {first, limit}, {second, 64 * mib}} {
			if got := memory(t, each.c, "MemTotal"); got != each.want {
				t.Errorf("MemTotal %d, want %d", got, each.want)
			}
		}
		// Another container replaces the second.
		if err := second.Remove(); err != nil {
			t.Fatal(err)
		}
		third := limited(t, ctr.Options{Runtime: runtime, JoinPID: first.PID, Memory: 48 * mib})
		if got := memory(t, third, "MemTotal"); got != 48*mib {
			t.Errorf("third container: MemTotal %d, want %d", got, 48*mib)
		}
	})
}

// TestHostPIDNamespace checks that a container in the host's pid namespace, which differs from
// other processes only in its cgroup, sees its limits.
func TestHostPIDNamespace(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := limited(t, ctr.Options{Runtime: runtime, HostPID: true})
		if got := memory(t, c, "MemTotal"); got != limit {
			t.Errorf("MemTotal %d, want %d", got, limit)
		}
	})
}

// TestUserNamespace checks the files in a container with a user namespace.
func TestUserNamespace(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := limited(t, ctr.Options{Runtime: runtime, UserOffset: 100000})
		if got := memory(t, c, "MemTotal"); got != limit {
			t.Errorf("MemTotal %d, want %d", got, limit)
		}
		const slabinfo = ctr.MountDir + "/proc/slabinfo"
		if mode := inside(t, c, "stat", "-c", "%a", slabinfo); mode != "444\n" {
			t.Errorf("got mode %s of slabinfo, want 444", mode)
		}
		// Since Linux 5.9 a cgroup has no lines.
		if got := inside(t, c, "cat", slabinfo); !strings.HasPrefix(got, "slabinfo - version: 2.1\n# name ") ||
			strings.Count(got, "\n") > 2 && got == hostFile(t, "/proc/slabinfo") {
			t.Errorf("got slabinfo %q", got)
		}
	})
}

// TestReadersThatDie checks that readers killed in the middle of a read do not disturb others.
func TestReadersThatDie(t *testing.T) {
	c := limited(t, ctr.Options{})
	inside(t, c, "sh", "-c", `
		i=0
		while [ $i -lt 100 ]; do
			( while :; do cat /proc/meminfo /proc/stat /proc/cpuinfo; done ) >/dev/null 2>&1 &
			pid=$!
			cat /proc/meminfo >/dev/null || exit 1
			kill -9 $pid
			i=$((i+1))
		done`)
	if got := memory(t, c, "MemTotal"); got != limit {
		t.Errorf("MemTotal %d, want %d", got, limit)
	}
}

// TestContainersComeAndGo checks that reused pids, inode numbers and cgroups do not mix up
// containers, and that the daemon holds nothing of removed ones.
func TestContainersComeAndGo(t *testing.T) {
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range ctr.Repeat(4, 10) {
				want := int64(32+worker*16+i) * mib
				c, err := ctr.Start(t.Context(), t.TempDir(), ctr.Options{
					Rootfs: shared.rootfs, ReadOnly: true, Lxcfs: shared.daemon.Mountpoint, Memory: want,
				})
				if err != nil {
					t.Error(err)
					return
				}
				out, err := c.Exec(t.Context(), "cat", "/proc/meminfo")
				if err != nil || !strings.Contains(out, fmt.Sprintf("MemTotal: %14d kB", want/1024)) {
					t.Errorf("container of %d bytes: %v: %q", want, err, out)
				}
				if err := c.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		held := heldNamespaces(t)
		if len(held) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the daemon still holds %v", held)
		}
	}
}

// heldNamespaces returns the pid namespaces without processes that the daemon holds open.
func heldNamespaces(t *testing.T) []string {
	t.Helper()
	alive := make(map[string]bool)
	processes, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if target, err := os.Readlink(p); err == nil {
			alive[target] = true
		}
	}
	var held []string
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", workerOf(t, shared.daemon)))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "pid:[") && !alive[target] {
			held = append(held, target)
		}
	}
	return held
}

// TestOutermost checks that readers in nested pid namespaces, which a container can create at will,
// count as the container.
func TestOutermost(t *testing.T) {
	c := limited(t, ctr.Options{})
	if err := c.ExecStart(t.Context(), "unshare", "-p", "-f", "unshare", "-p", "-f", "sleep", "30020"); err != nil {
		t.Fatal(err)
	}
	nested := 0
	waitFor(t, "a process two pid namespaces below the container's", func() bool {
		nested = processOf("sleep\x0030020\x00")
		return nested != 0
	})
	finder := shared.finder
	var ns syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/pid", c.PID), &ns); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]uint64{os.Getpid(): 0, c.PID: ns.Ino, nested: ns.Ino} {
		p := finder.Principal(uint32(pid), 0)
		if p.Namespace() != want || p.UID() != 0 {
			t.Errorf("process %d: %d of the user %d, want %d of root", pid, p.Namespace(), p.UID(), want)
		}
		p.Release()
	}
	// All processes of a container have the same Principal.
	first, second := finder.Principal(uint32(c.PID), 0), finder.Principal(uint32(nested), 0)
	if first != second {
		t.Errorf("got principal %p for a process inside, want the container's %p", second, first)
	}
	first.Release()
	second.Release()
	// A user of the host creates a pid namespace in a nested user namespace.
	users := exec.Command("unshare", "-U", "--map-root-user", "unshare", "-U", "-p", "-f", "sleep", "30021")
	users.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}, Pdeathsig: syscall.SIGKILL}
	if err := users.Start(); err != nil {
		t.Fatal(err)
	}
	own := 0
	waitFor(t, "a process in the user's pid namespace", func() bool {
		own = processOf("sleep\x0030021\x00")
		return own != 0
	})
	t.Cleanup(func() {
		syscall.Kill(own, syscall.SIGKILL)
		users.Wait() // returns its child's signal
	})
	for tid, uid := range map[int]uint32{own: 12345, 0: 54321} { // 0: a reader outside the daemon's pid namespace
		p := finder.Principal(uint32(tid), 54321)
		if p.Namespace() != 0 || p.UID() != uid {
			t.Errorf("thread %d: %d of the user %d, want %d", tid, p.Namespace(), p.UID(), uid)
		}
		p.Release()
	}
}

// TestMountNamespacesOfSiblings runs processes of two containers in one pid namespace, each in a
// new mount namespace. The kernel reuses the inode number of the last one, but each process must
// see the values of its own container.
func TestMountNamespacesOfSiblings(t *testing.T) {
	first := limited(t, ctr.Options{})
	second := limited(t, ctr.Options{JoinPID: first.PID, Memory: 64 * mib})
	third := limited(t, ctr.Options{JoinPID: first.PID, Memory: 48 * mib})
	read := []string{"unshare", "-m", "sh", "-c", "readlink /proc/self/ns/mnt; cat /proc/meminfo"}
	var numbers []string
	for range 5 {
		for _, each := range []struct {
			c    *ctr.Container
			want uint64
		}{{second, 64 * mib}, {third, 48 * mib}, {first, limit}} {
			out := inside(t, each.c, read...)
			if got := seen(t, out); got != each.want {
				t.Errorf("MemTotal %d, want %d", got, each.want)
			}
			number, _, _ := strings.Cut(out, "\n")
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	if n := len(numbers); len(slices.Compact(numbers)) == n {
		t.Errorf("no mount namespace number was reused: %v", numbers)
	}
}
