//go:build integration

package toolkit

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/mounts"
	"palisade/test/ctr"
)

const cpuDir = "/" + mounts.CPUDir

// TestCPUDirectory checks containers that see one CPU: everything by which programs count CPUs,
// except possible, shows one, and nothing can be written.
func TestCPUDirectory(t *testing.T) {
	if _, err := os.Stat(cpuDir + "/cpu1"); err != nil {
		t.Fatalf("the machine has a single CPU, want two: %v", err)
	}
	possible, err := os.ReadFile(cpuDir + "/possible")
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	h.start(t)
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for name, o := range map[string]ctr.Options{
			"quota":          {Quota: 100000},
			"cpuset":         {CPUs: "1"},
			"user namespace": {Quota: 100000, UserOffset: 100000},
		} {
			t.Run(name, func(t *testing.T) {
				o.Runtime = runtime
				c := h.container(t, o)
				for _, tt := range []struct{ command, want string }{
					{"grep -c ^processor /proc/cpuinfo", "1\n"},
					{"grep -c '^cpu[0-9]' /proc/stat", "1\n"},
					{"cd " + cpuDir + "; echo cpu[0-9]*", "cpu0\n"},
					{"cat " + cpuDir + "/online " + cpuDir + "/present", "0\n0\n"},
					{"cat " + cpuDir + "/possible", string(possible)},
					{"ls -d " + cpuDir + "/cpu1 2>&1 | grep -c 'No such file'; true", "1\n"},
					{"cat " + cpuDir + "/cpu0/online 2>/dev/null | grep -v 1; true", ""},
					{"ls " + cpuDir + "/cpu0/topology/ | grep -c core_id", "1\n"},
					{"getconf _NPROCESSORS_ONLN", "1\n"},
					{"lscpu --parse=CPU,ONLINE | grep -v '^#'", "0,Y\n"},
				} {
					if got := inside(t, c, "sh", "-c", tt.command); got != tt.want {
						t.Errorf("%s: got %q, want %q", tt.command, got, tt.want)
					}
				}
				// Only open the files: a write to cpu1/online would take the host's CPU offline.
				script := "for f in DIR/cpu*/online DIR/cpu*/uevent DIR/uevent; do ! [ -e $f ] || ! true >>$f || echo $f; done 2>/dev/null; true"
				if o.UserOffset == 0 {
					inside(t, c, "mount", "-o", "remount,rw", "/sys") // as in privileged containers
				}
				if out := inside(t, c, "sh", "-c", strings.ReplaceAll(script, "DIR", cpuDir)); out != "" {
					t.Errorf("can be opened for writing: %q", out)
				}
			})
		}
	})
}

// fileMount returns an entry of a configuration that mounts a file of lxcfs over the kernel's.
func (h *host) fileMount(name string) specs.Mount {
	return specs.Mount{Destination: name, Type: "bind", Source: h.mountpoint + name, Options: []string{"bind"}}
}

// TestFormerCPUFiles checks that remount replaces mounts of single files in the CPU directory, as
// of earlier versions, by the directory: of a live lxcfs without failing reads, and of a dead one,
// also after an earlier remount was killed halfway.
func TestFormerCPUFiles(t *testing.T) {
	h := newHost(t)
	h.start(t)
	former := []specs.Mount{h.fileMount(cpuDir + "/online"), h.fileMount(cpuDir + "/offline")}
	o := ctr.Options{Quota: 100000, Mounts: former, Hooks: new(specs.Hooks)}
	start := func() *ctr.Container {
		c := h.container(t, o)
		h.must(t, "list")
		return c
	}
	containers := []*ctr.Container{start()}
	o.Mounts = append(slices.Clone(former), h.fileMount(cpuDir))
	containers = append(containers, start())
	if got := lxcfsMounts(t, strconv.Itoa(containers[1].PID)); len(got) != 3 {
		t.Fatalf("got mounts %q, want 3", got)
	}
	check := func(when string) {
		t.Helper()
		for _, c := range containers {
			got := lxcfsMounts(t, strconv.Itoa(c.PID))
			slices.Sort(got)
			if want := h.served(t); !slices.Equal(got, want) {
				t.Errorf("%s: got mounts of lxcfs\n%q, want\n%q", when, got, want)
			}
			if got := inside(t, c, "sh", "-c", "cd "+cpuDir+"; cat online; echo cpu[0-9]*"); got != "0\ncpu0\n" {
				t.Errorf("%s: got %q", when, got)
			}
		}
	}
	var wait sync.WaitGroup
	stop := make(chan struct{})
	path := filepath.Join("/proc", strconv.Itoa(containers[0].PID), "root", cpuDir, "online")
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := os.ReadFile(path); err != nil {
				t.Error(err)
				return
			}
		}
	})
	h.must(t, "remount", "--all")
	close(stop)
	wait.Wait()
	check("alive")
	for _, c := range h.report(t, "remount", "--all").Containers {
		if c.Outcome != "unchanged" {
			t.Errorf("a second remount reports %+v", c)
		}
	}

	h.must(t, "umount", "--all")
	for _, c := range containers {
		if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
			t.Errorf("mounts of lxcfs remain after umount: %q", got)
		}
	}
	o.Mounts = former
	containers = append(containers, start())
	h.kill(t)
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all")
	check("dead")
}

// TestForeignBelowCPUDir checks that users' mounts below the CPU directory are kept: one in the
// configuration, and one made in the running container on top of the directory of lxcfs.
func TestForeignBelowCPUDir(t *testing.T) {
	h := newHost(t)
	h.start(t)
	own := filepath.Join(h.dir, "online")
	if err := os.WriteFile(own, []byte("the user's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bind := specs.Mount{Destination: cpuDir + "/online", Type: "bind", Source: own, Options: []string{"bind"}}
	before := h.container(t, ctr.Options{Mounts: []specs.Mount{bind, h.fileMount(cpuDir + "/offline")}})
	after := h.container(t, ctr.Options{})
	inside(t, after, "mount", "--bind", "/bin/busybox", cpuDir+"/kernel_max")
	check := func(foreign map[string][]string, args ...string) {
		t.Helper()
		for _, r := range h.report(t, args...).Containers {
			if want := foreign[r.ID]; !slices.Equal(r.Foreign, want) {
				t.Errorf("%s reports %q, want %q", args, r.Foreign, want)
			}
		}
		if text := inside(t, before, "cat", cpuDir+"/online"); text != "the user's\n" {
			t.Errorf("after %s: got online %q, want the user's", args, text)
		}
	}
	kept := map[string][]string{before.ID: {mounts.CPUDir}}
	if got := lxcfsMounts(t, strconv.Itoa(before.PID)); slices.Contains(got, cpuDir) || slices.Contains(got, cpuDir+"/offline") {
		t.Errorf("got mounts of lxcfs %q after the start, want none in the CPU directory", got)
	}
	check(kept, "remount", "--all")
	check(map[string][]string{after.ID: {cpuDir}}, "umount", "--all")
	if text := inside(t, after, "head", "-c", "4", cpuDir+"/kernel_max"); text != "\x7fELF" {
		t.Errorf("the mount on kernel_max is gone: %q", text)
	}
	inside(t, after, "umount", cpuDir+"/kernel_max")
	check(nil, "umount", "--all")
	check(kept, "remount", "--all")
}
