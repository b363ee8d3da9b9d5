// Package fakehost makes a directory that stands for the /proc, /sys and cgroups of a host, so that
// tests of containers need no root.
package fakehost

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Host is a host with cgroup v2.
type Host struct {
	t testing.TB
	// Dir has the directories proc, sys and cgroup.
	Dir string
}

// Process is a process of the host.
type Process struct {
	Parent int
	// NSPids are its pids in the pid namespaces below the host's, "1" for the init of one.
	NSPids string
	// PID, Mount, Cgroup and User name its namespaces. "" is the host's.
	PIDNS, MountNS, CgroupNS, UserNS, TimeNS string
	// ChildTimeNS names the time namespace of its children, and BootOffset is the offset of its
	// CLOCK_BOOTTIME in seconds.
	ChildTimeNS string
	BootOffset  int
	// Cgroup is its path in the hierarchy.
	Cgroup string
	// Start is its start time in clock ticks since boot.
	Start int
	// State is R by default.
	State string
}

// New returns a host on which this process runs.
func New(t testing.TB) *Host {
	t.Helper()
	h := &Host{t: t, Dir: t.TempDir()}
	h.Write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
	h.Add(os.Getpid(), Process{Cgroup: "/system.slice/lxcfs.service", Start: 100})
	h.Write(fmt.Sprintf("proc/%d/mountinfo", os.Getpid()),
		fmt.Sprintf("30 1 0:26 / %s/cgroup rw - cgroup2 cgroup2 rw\n", h.Dir))
	h.link(fmt.Sprint(os.Getpid()), "proc/self")
	return h
}

// Start starts a process, which ends with the test, and returns its pid.
func (h *Host) Start(p Process) int {
	h.t.Helper()
	real, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
	h.check(err)
	h.t.Cleanup(func() {
		real.Kill() // fails if it has ended
		real.Wait()
	})
	h.Add(real.Pid, p)
	return real.Pid
}

// End ends a process that Start has started.
func (h *Host) End(pid int) {
	h.t.Helper()
	h.check(syscall.Kill(pid, syscall.SIGKILL))
	h.check(os.RemoveAll(filepath.Join(h.Dir, "proc", fmt.Sprint(pid))))
}

// Add adds the files of a process, or replaces them.
func (h *Host) Add(pid int, p Process) {
	h.t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	if p.State == "" {
		p.State = "R"
	}
	h.Write(fmt.Sprintf("%stask/%d/stat", dir, pid), fmt.Sprintf(
		"%d (a program) %s %d 1 1 0 -1 4194304 94 0 0 0 3 5 0 0 20 0 1 0 %d 3145728 450 0\n",
		pid, p.State, p.Parent, p.Start))
	h.Write(dir+"status", fmt.Sprintf("Name:\ta program\nState:\t%s\nPPid:\t%d\nNSpid:\t%s\n"+
		"CapEff:\t000001ffffffffff\n", p.State, p.Parent,
		strings.TrimSpace(fmt.Sprint(pid, " ", p.NSPids))))
	h.Write(dir+"cgroup", "0::"+p.Cgroup+"\n")
	h.Write("cgroup"+p.Cgroup+"/cgroup.threads", fmt.Sprintln(pid))
	for kind, name := range map[string]string{
		"pid": p.PIDNS, "mnt": p.MountNS, "cgroup": p.CgroupNS, "user": p.UserNS,
		"time": p.TimeNS,
	} {
		link := fmt.Sprintf("%s:[%d]", kind, h.Namespace(kind, name))
		h.link(filepath.Join(h.Dir, "ns", kind+"-"+name), dir+"ns/"+link)
		h.link(link, dir+"ns/"+kind)
	}
	h.link(fmt.Sprintf("time:[%d]", h.Namespace("time", p.ChildTimeNS)), dir+"ns/time_for_children")
	h.Write(dir+"timens_offsets",
		fmt.Sprintf("monotonic           0         0\nboottime   %10d         0\n", p.BootOffset))
	h.link(h.Dir, dir+"root")
}

// Namespace returns the inode number of the namespace with the name.
func (h *Host) Namespace(kind, name string) uint64 {
	h.t.Helper()
	path := "ns/" + kind + "-" + name
	h.Write(path, "")
	var st syscall.Stat_t
	h.check(syscall.Stat(filepath.Join(h.Dir, path), &st))
	return st.Ino
}

// Write writes a file below Dir.
func (h *Host) Write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	h.check(os.MkdirAll(filepath.Dir(path), 0o755))
	h.check(os.WriteFile(path, []byte(text), 0o644))
}

// link makes or replaces a symbolic link below Dir.
func (h *Host) link(target, name string) {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	os.Remove(path) // fails if there is none
	h.check(os.MkdirAll(filepath.Dir(path), 0o755))
	h.check(os.Symlink(target, path))
}

func (h *Host) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}
