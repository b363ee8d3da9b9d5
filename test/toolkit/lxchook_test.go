//go:build integration

package toolkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

const lxcHooks = "../../hooks/lxc/"

// lxcHook runs a hook as LXC does, checks that it succeeds, and returns its output.
func lxcHook(t *testing.T, command []string, env ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q with %q: %v: %s", command, env, err, out)
	}
	return string(out)
}

// writeTree creates files below dir, and directories for names that end in a slash.
func writeTree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(dir+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLXCMountHook checks the hook for lxc.hook.mount with trees in place of lxcfs and a
// container's root file system.
func TestLXCMountHook(t *testing.T) {
	engine.OwnLib(t)
	hook := []string{lxcHooks + "lxc.mount.hook"}
	dir := t.TempDir()
	root := filepath.Join(dir, `a "root" $file system`)
	writeTree(t, root, "proc/meminfo", "proc/stat", "proc/pressure/cpu", "proc/version",
		"proc/vmstat", "sys/devices/system/cpu/", "sys/devices/system/node/", "var/lib/lxcfs/")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	mounted := func() (points []string) {
		for line := range strings.Lines(hostMounts(t)) {
			point := strings.Fields(line)[1]
			point = strings.NewReplacer(`\040`, " ", `\134`, `\`).Replace(point)
			if below, ok := strings.CutPrefix(point, dir+"/"); ok {
				points = append(points, strings.TrimPrefix(below, filepath.Base(root)+"/"))
			}
		}
		slices.Sort(points)
		return points
	}
	check := func(what string, want ...string) {
		t.Helper()
		if got := mounted(); !slices.Equal(got, want) {
			t.Errorf("%s: mounts on %q, want %q", what, got, want)
		}
	}
	lxcHook(t, hook)
	lxcHook(t, hook, "LXC_ROOTFS_MOUNT="+root)
	check("without lxcfs")

	writeTree(t, "/var/lib/lxcfs", "proc/meminfo", "proc/stat", "proc/uptime", "proc/pressure/cpu",
		"proc/pressure/io", "proc/vmstat", "sys/devices/system/cpu/online", "sys/devices/system/node/online")
	lxcHook(t, hook, "LXC_ROOTFS_MOUNT="+dir+"/none")
	check("without a root file system")
	if out := lxcHook(t, hook, "LXC_ROOTFS_MOUNT="+link); out != "" {
		t.Errorf("the hook prints %s", out)
	}
	check("with lxcfs", "proc/meminfo", "proc/pressure/cpu", "proc/stat", "proc/vmstat",
		"sys/devices/system/cpu", "sys/devices/system/node", "var/lib/lxcfs")
	text, err := os.ReadFile(filepath.Join(root, "var/lib/lxcfs/proc/uptime"))
	if err != nil || string(text) != "/var/lib/lxcfs\n" {
		t.Errorf("a nested container reads %q, %v", text, err)
	}
	for _, point := range mounted() {
		unmount(t, filepath.Join(root, point))
	}

	// Links in the root file system point to a file and directories outside.
	outside := filepath.Join(dir, "outside")
	writeTree(t, outside, "meminfo", "cpu/online", "lib/lxcfs/")
	for _, link := range [][2]string{
		{outside + "/meminfo", "proc/meminfo"}, {outside, "sys/devices/system"},
		{outside + "/lib", "var/lib"},
	} {
		path := filepath.Join(root, link[1])
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link[0], path); err != nil {
			t.Fatal(err)
		}
	}
	lxcHook(t, hook, "LXC_ROOTFS_MOUNT="+root)
	check("with links", "proc/pressure/cpu", "proc/stat", "proc/vmstat")
	for _, point := range mounted() {
		unmount(t, filepath.Join(root, point))
	}
}

// TestLXCStartHost checks the state that the hook for lxc.hook.start-host passes to lxcfs-toolkit.
func TestLXCStartHost(t *testing.T) {
	engine.OwnCopy(t, "/usr/bin")
	script := "#!/bin/sh\n[ \"$*\" = hook ] && cat\nexit 1\n"
	if err := os.WriteFile("/usr/bin/lxcfs-toolkit", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(lxcHooks + "start-host")
	if err != nil {
		t.Fatal(err)
	}
	const hook = "/usr/bin/start-host" // where other users can execute it
	if err := os.WriteFile(hook, text, 0o755); err != nil {
		t.Fatal(err)
	}
	web := []string{"LXC_NAME=web", "LXC_PID=77"}
	for _, tt := range []struct {
		command, env []string
		want         string
	}{
		{[]string{hook}, web, `{"id":"web","pid":77}`},
		{[]string{hook, "web", "lxc", "start-host"}, web, `{"id":"web","pid":77}`},
		{[]string{hook}, []string{`LXC_NAME=a"b\c $d %s`}, `{"id":"a\"b\\c $d %s","pid":0}`},
		{[]string{hook}, nil, ""},
		{[]string{"setpriv", "--reuid=1000", "--clear-groups", hook}, web, ""},
	} {
		if got := lxcHook(t, tt.command, tt.env...); got != tt.want {
			t.Errorf("%q with %q: got state %s, want %s", tt.command, tt.env, got, tt.want)
		}
	}
	// Without the program containers must start.
	if err := syscall.Unlink("/usr/bin/lxcfs-toolkit"); err != nil {
		t.Fatal(err)
	}
	lxcHook(t, []string{hook}, web...)
	lxcHook(t, []string{lxcHooks + "lxc.reboot.hook"})
}

// TestLXCMountHookNames checks that the hook has the names of all served files. It must not list a
// directory, which a container can keep locked.
func TestLXCMountHookNames(t *testing.T) {
	h := newHost(t)
	h.start(t)
	text, err := os.ReadFile("../../hooks/lxc/lxc.mount.hook")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \n\t;=", r) })
	for _, file := range h.served(t) {
		if !slices.Contains(words, strings.TrimPrefix(strings.TrimPrefix(file, "/"), "proc/")) {
			t.Errorf("the hook does not mount %s", file)
		}
	}
	if strings.Contains(string(text), "/*") {
		t.Error("the hook lists a directory")
	}
}
