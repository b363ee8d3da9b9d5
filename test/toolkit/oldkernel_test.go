//go:build integration

package toolkit

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// onOldKernel returns the command line that runs a program without the given system calls.
func onOldKernel(t *testing.T, calls []int, program string, args ...string) []string {
	t.Helper()
	line, err := ctr.WithoutCalls(calls, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestOldKernels checks the toolkit without the system calls that older kernels lack.
func TestOldKernels(t *testing.T) {
	h := newHost(t)
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, filepath.Dir(h.mountpoint)) })
	h.start(t)
	v419 := []int{unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_PIDFD_OPEN, unix.SYS_OPENAT2, unix.SYS_MOUNT_SETATTR}
	for _, tt := range []struct {
		name  string
		calls []int
	}{
		{"4.19", v419},
		{"5.10", []int{unix.SYS_MOUNT_SETATTR}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hook := h.hook()
			hook.CreateRuntime[0].Args = onOldKernel(t, tt.calls, shared.toolkit, hook.CreateRuntime[0].Args[1:]...)
			hook.CreateRuntime[0].Path = hook.CreateRuntime[0].Args[0]
			c := h.container(t, ctr.Options{Memory: 64 * mib, Hooks: hook, Mounts: []specs.Mount{
				// Without open_tree, remount needs a container with mounts of lxcfs.
				{Destination: filepath.Dir(h.mountpoint), Type: "bind", Source: filepath.Dir(h.mountpoint), Options: []string{"rbind", "rslave"}},
			}})
			checkFiles := func() {
				t.Helper()
				text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "mounts"))
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for line := range strings.Lines(string(text)) {
					if f := strings.Fields(line); f[2] == "fuse.lxcfs" && f[1] != h.mountpoint {
						got = append(got, f[1])
						if !strings.HasPrefix(f[3], "rw,nosuid,nodev,noexec,") {
							t.Errorf("%s: got mount options %s", f[1], f[3])
						}
					}
				}
				slices.Sort(got)
				if want := h.served(t); !slices.Equal(got, want) {
					t.Errorf("got mounts of lxcfs %q, want %q", got, want)
				}
			}
			checkFiles()
			h.stop(t)
			h.start(t)
			line := onOldKernel(t, tt.calls, shared.toolkit, h.args("remount", "--all")...)
			if r := engine.Run(t, "", line[0], line[1:]...); r.Code != 0 {
				t.Errorf("remount: %+v", r)
			}
			checkFiles()
			if text := inside(t, c, "cat", "/proc/meminfo"); !strings.Contains(text, " 65536 kB") {
				t.Errorf("got meminfo %.40q, want 65536 kB", text)
			}
			line = onOldKernel(t, tt.calls, shared.toolkit, h.args("umount", "--all")...)
			if r := engine.Run(t, "", line[0], line[1:]...); r.Code != 0 {
				t.Errorf("umount: %+v", r)
			}
			if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) != 1 {
				t.Errorf("got mounts of lxcfs %q after umount, want one", got)
			}
		})
	}
}
