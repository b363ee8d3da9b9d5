//go:build integration

package remap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"palisade/internal/linux/sys"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// image is an overlay as an engine mounts it for a container, of two lower layers that containers
// can share.
type image struct {
	dir, merged string
	lower       []string // the topmost first
	options     string   // besides the layers
}

// newImage creates an image. Its lower directories have characters that must be escaped.
func newImage(t *testing.T) *image {
	t.Helper()
	dir := diskDir(t)
	m := &image{dir: dir, options: "index=off"}
	m.lower = []string{filepath.Join(dir, "top:1"), filepath.Join(dir, "base,2 3")}
	base := m.lower[1]
	newRootfs(t, base)
	for _, sub := range []string{"old/sub", "gone", "home", "../top:1/etc"} {
		if err := os.MkdirAll(filepath.Join(base, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		"old/sub/f": "old", "gone/f": "gone", "home/mine": "mine", "etc/both": "base",
		"../top:1/etc/both": "top", "etc/append": "first\n",
	} {
		if err := os.WriteFile(filepath.Join(base, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(shared.busybox)
	if err != nil {
		t.Fatal(err)
	}
	capable := filepath.Join(base, "bin/busybox.capable")
	if err := os.WriteFile(capable, program, 0o755); err != nil {
		t.Fatal(err)
	}
	// cap_net_raw+ep, version 2
	caps := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	if err := unix.Setxattr(capable, "security.capability", caps, 0); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(base, "home/mine")
	if err := os.Chown(mine, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(mine, "trusted.test", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	return m.container(t)
}

// diskDir returns a directory, in the virtual machine on a disk: Linux 6.1 cannot idmap the file
// systems in memory.
func diskDir(t *testing.T) string {
	t.Helper()
	dir := openDir(t)
	if os.Getenv("PALISADE_VM") == "" {
		return dir
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 64<<20)); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"mke2fs", "-F", disk}, {"mount", "-t", "ext4", "-o", "loop", disk, dir}} {
		if r := engine.Run(t, "", "busybox", line...); r.Code != 0 {
			t.Fatalf("%q: %+v", line, r)
		}
	}
	t.Cleanup(func() {
		if r := engine.Run(t, "", "busybox", "umount", "-d", dir); r.Code != 0 {
			t.Errorf("%+v", r)
		}
	})
	return dir
}

// container returns an overlay of another container with the same lower layers, and mounts it.
func (m *image) container(t *testing.T) *image {
	t.Helper()
	dir, err := os.MkdirTemp(m.dir, "container-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &image{dir: dir, merged: filepath.Join(dir, "merged"), lower: m.lower, options: m.options}
	for _, sub := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(c.unmount)
	c.mount(t)
	return c
}

func (m *image) upper() string { return filepath.Join(m.dir, "upper") }

// mount mounts the overlay as an engine does.
func (m *image) mount(t *testing.T) {
	t.Helper()
	var lower []string
	for _, l := range m.lower {
		lower = append(lower, strings.NewReplacer(":", `\:`, ",", `\,`).Replace(l))
	}
	options := fmt.Sprintf("%s,lowerdir=%s,upperdir=%s,workdir=%s", m.options,
		strings.Join(lower, ":"), m.upper(), filepath.Join(m.dir, "work"))
	if err := syscall.Mount("overlay", m.merged, "overlay", 0, options); err != nil {
		t.Fatalf("mount %s: %v", options, err)
	}
}

// unmount unmounts whatever is mounted for the container, as after a reboot.
func (m *image) unmount() {
	for syscall.Unmount(m.merged, syscall.MNT_DETACH) == nil {
	}
}

// bundle returns a bundle of a container with the overlay as its root file system.
func (m *image) bundle(t *testing.T, script string) *bundle {
	t.Helper()
	return newBundle(t, script, func(s *specs.Spec) { s.Root.Path = m.merged })
}

// listing returns a line for each file in the trees, with all that a change of owners may affect.
func listing(t *testing.T, roots ...string) (lines []string) {
	t.Helper()
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			var st unix.Stat_t
			if err == nil {
				err = unix.Lstat(path, &st)
			}
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %o %d:%d %d %x %d %v", path, st.Mode, st.Uid, st.Gid, st.Size, st.Rdev,
				st.Nlink, st.Mtim)
			names := make([]byte, 4096)
			n, err := unix.Llistxattr(path, names)
			if err != nil {
				return err
			}
			for name := range strings.FieldsFuncSeq(string(names[:n]), func(r rune) bool { return r == 0 }) {
				value := make([]byte, 4096)
				n, err := unix.Lgetxattr(path, name, value)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %s=%x", name, value[:n])
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// changeScript reads and changes files of an image in all ways that an overlay implements
// differently.
const changeScript = `id -u; cat /proc/self/uid_map
stat -c '%n %u %a' / /bin/busybox /home/mine /etc/both; cat /etc/both; echo
grep CapEff /proc/self/status >/dev/null
echo more >>/etc/append && cat /etc/append
rm -r /gone && ls /gone
mv /old /new && cat /new/sub/f; echo
cp /bin/busybox /root/copy && chmod 4755 /root/copy && stat -c '%n %u %a' /root/copy
ls -d /old`

const changeOutput = `0
         0     100000      65535
/ 0 755
/bin/busybox 0 4755
/home/mine 1000 644
/etc/both 0 644
top
first
more
old
/root/copy 0 4755
`

// runtimeScript returns a program that executes a runtime. The wrapper itself must be in the mount
// namespace of the engine.
func runtimeScript(t *testing.T, runtime string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "runtime")
	line := "'" + strings.Join(ctr.CommandLine(runtime, runtime), "' '") + "'"
	text := "#!/bin/sh\nexec " + line + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// TestLayers checks that the lower layers of an overlay are idmapped without any change on the disk,
// and that what the container changes has its ids there; with several options of overlays.
func TestLayers(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		program := runtimeScript(t, runtime)
		for _, options := range []string{"index=off", "redirect_dir=on,metacopy=on", "volatile",
			"userxattr", "xino=off"} {
			name, _, _ := strings.Cut(options, "=")
			t.Run(name, func(t *testing.T) {
				m := newImage(t)
				m.unmount()
				m.options = options
				m.mount(t)
				before := listing(t, m.lower...)
				b := m.bundle(t, changeScript)
				r := wrapped(t, program, []string{"--user-remap", remap100000}, "run", "-b", b.dir, b.id)
				if r.Code != 1 || r.Stdout != changeOutput {
					t.Fatalf("%+v", r)
				}
				if after := listing(t, m.lower...); !slices.Equal(after, before) {
					t.Errorf("lower layers have changed:\n%s\n%s", before, after)
				}
				checkUpper(t, m.upper(), firstID)
				if uid := owner(t, filepath.Join(m.merged, "bin")); uid != firstID {
					t.Errorf("the engine sees owner %d", uid)
				}
			})
		}
	})
}

// checkUpper checks that all files of an upper layer, except whiteouts, have the ids of a
// container.
func checkUpper(t *testing.T, upper string, first int) {
	t.Helper()
	count := 0
	err := filepath.WalkDir(upper, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		isWhiteout := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
		if err == nil && !isWhiteout && (int(st.Uid) < first || int(st.Uid) >= first+65535) {
			t.Errorf("%s belongs to %d, want an id from %d on", path, st.Uid, first)
		}
		count++
		return err
	})
	if err != nil || count < 2 {
		t.Errorf("%d files in %s: %v", count, upper, err)
	}
}

// TestLayersRelative checks an overlay whose options have relative paths, as those of engines with
// many layers.
func TestLayersRelative(t *testing.T) {
	m := newImage(t)
	m.unmount()
	home := filepath.Dir(m.lower[0])
	relative := func(path string) string { return strings.TrimPrefix(path, home+"/") }
	for i, l := range m.lower {
		link := filepath.Join(home, "l", fmt.Sprint(i)) // as Docker and Podman have
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(l, link)); err != nil {
			t.Fatal(err)
		}
	}
	options := fmt.Sprintf("index=off,lowerdir=l/0:l/1,upperdir=%s,workdir=%s", relative(m.upper()),
		relative(filepath.Join(m.dir, "work")))
	err := sys.OnOwnThread(func(th *sys.Thread) error {
		dir, err := sys.OpenDir(home)
		if err != nil {
			return err
		}
		defer dir.Close()
		return errors.Join(th.Enter(dir), sys.Mount("overlay", m.merged, "overlay", 0, options))
	})
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, m.lower...)
	run := func(remap string) engine.Ran {
		b := m.bundle(t, inspectScript)
		return wrapped(t, "runc", []string{"--user-remap", remap}, "run", "-b", b.dir, b.id)
	}
	engine.OwnLib(t)
	first := firstIn(t, run("auto"))
	for range 2 { // the new mount has the same options
		if next := firstIn(t, run("auto")); next != first {
			t.Errorf("got range %d, then %d", first, next)
		}
	}
	for range 2 {
		if r := run(remap100000); r.Code != 0 || r.Stdout != inspectOutput {
			t.Errorf("%+v", r)
		}
	}
	if after := listing(t, m.lower...); !slices.Equal(after, before) {
		t.Errorf("lower layers have changed:\n%s\n%s", before, after)
	}
	checkUpper(t, m.upper(), firstID)
}

// TestLayersCapabilities checks that capabilities of programs in a lower layer are valid in the
// container only.
func TestLayersCapabilities(t *testing.T) {
	m := newImage(t)
	// The first program drops to a user without capabilities, the second one has them.
	b := newBundle(t, "", func(s *specs.Spec) {
		s.Root.Path = m.merged
		s.Process.User = specs.User{UID: 1000, GID: 1000}
		s.Process.NoNewPrivileges = false
		s.Process.Args = []string{"/bin/busybox.capable", "grep", "CapEff", "/proc/self/status"}
		s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_NET_RAW")
	})
	r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", b.dir, b.id)
	if r.Code != 0 || r.Stdout != "CapEff:\t0000000000002000\n" {
		t.Errorf("%+v", r)
	}
	value := make([]byte, 64)
	n, err := unix.Getxattr(filepath.Join(m.merged, "bin/busybox.capable"), "security.capability", value)
	if err != nil || n != 24 || value[3] != 3 || string(value[20:24]) != "\xa0\x86\x01\x00" {
		t.Errorf("the host sees capabilities %x (%v), want version 3 of root %d", value[:n], err, firstID)
	}
}

// TestLayersShared checks two containers of an image with different ids at once, and a third that
// has none.
func TestLayersShared(t *testing.T) {
	m := newImage(t)
	before := listing(t, m.lower...)
	const script = "cat /proc/self/uid_map; stat -c %u /bin/busybox; echo x >>/etc/append; sleep 1000"
	for i, c := range []*image{m, m.container(t)} {
		first := firstID * (1 + 2*i)
		b := c.bundle(t, script)
		out := filepath.Join(b.dir, "out")
		remap := fmt.Sprintf("%d:%d:65535", first, first)
		line := wrappedLine("runc", []string{"--user-remap", remap}, "run", "-b", b.dir, b.id)
		f, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Stdout, cmd.Stderr = f, f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			exec.Command("runc", "kill", b.id, "KILL").Run() // may have ended
			cmd.Wait()
		})
		want := fmt.Sprintf("%10d %10d %10d\n0\n", 0, first, 65535)
		engine.WaitFor(t, "output of "+remap, func() bool {
			text, err := os.ReadFile(out)
			return err == nil && string(text) == want
		})
		engine.WaitFor(t, "a changed file", func() bool {
			return owner(t, filepath.Join(c.merged, "etc/append")) == first
		})
		checkUpper(t, c.upper(), first)
	}
	plain := m.container(t)
	b := plain.bundle(t, "stat -c %u /bin/busybox /home/mine")
	if r := runRuntime(t, "runc", "run", "-b", b.dir, b.id); r.Code != 0 || r.Stdout != "0\n1000\n" {
		t.Errorf("without a user namespace: %+v", r)
	}
	if after := listing(t, m.lower...); !slices.Equal(after, before) {
		t.Errorf("lower layers have changed:\n%s\n%s", before, after)
	}
}

// TestLayersUpper checks which ids the upper layer gets at later starts: after a start without a
// user namespace, with other ids, with files that the engine has added, and after unshift.
func TestLayersUpper(t *testing.T) {
	m := newImage(t)
	start := func(script, remap string) string {
		t.Helper()
		m.unmount() // as the engine does when a container has stopped
		m.mount(t)
		b := m.bundle(t, script)
		r := runRuntime(t, "runc", "run", "-b", b.dir, b.id)
		if remap != "" {
			runRuntime(t, "runc", "delete", "--force", b.id)
			r = wrapped(t, "runc", []string{"--user-remap", remap}, "run", "-b", b.dir, b.id)
		}
		if r.Code != 0 {
			t.Fatalf("%s: %+v", remap, r)
		}
		return r.Stdout
	}
	start("echo one >/root/one; rm -r /gone", "")
	if out := start("stat -c %u /root/one; echo two >/root/two", remap100000); out != "0\n" {
		t.Errorf("file of a start without a user namespace: %q", out)
	}
	checkUpper(t, m.upper(), firstID)
	if err := os.WriteFile(filepath.Join(m.merged, "root/three"), nil, 0o600); err != nil { // docker cp
		t.Fatal(err)
	}
	const list = "stat -c '%n %u' /root/one /root/two /root/three; ls /gone || true"
	const want = "/root/one 0\n/root/two 0\n/root/three 0\n"
	for _, first := range []int{firstID, 3 * firstID} {
		if out := start(list, fmt.Sprintf("%d:%d:65535", first, first)); out != want {
			t.Errorf("ids from %d on: %q", first, out)
		}
		checkUpper(t, m.upper(), first)
	}
	m.unmount()
	must(t, "unshift", m.upper())
	if out := start(list, ""); out != want {
		t.Errorf("after unshift: %q", out)
	}
}

// TestLayersCopied checks that an overlay whose files an earlier start has copied up stays as it
// is.
func TestLayersCopied(t *testing.T) {
	m := newImage(t)
	must(t, "shift", "--allow-copyup", "--user-remap", remap100000, m.merged)
	for range 2 {
		m.unmount()
		m.mount(t)
		b := m.bundle(t, inspectScript)
		r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", b.dir, b.id)
		if r.Code != 0 || r.Stdout != inspectOutput {
			t.Errorf("%+v", r)
		}
		checkUpper(t, m.upper(), firstID)
		if uid := owner(t, filepath.Join(m.upper(), "bin/busybox")); uid != firstID {
			t.Errorf("bin/busybox belongs to %d", uid)
		}
	}
}

// TestLayersRefused checks overlays that are not replaced: the reason is in the message, the overlay
// is mounted as before, and nothing has changed.
func TestLayersRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, m *image)
		want    string
		// canCopy reports that the files can be copied up instead.
		canCopy bool
	}{
		{"open", func(t *testing.T, m *image) {
			f, err := os.Open(filepath.Join(m.merged, "etc/both"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		}, "device or resource busy (a process has a file of it open", false},
		{"mounted elsewhere", func(t *testing.T, m *image) {
			holder := exec.Command("sleep", "1000")
			holder.SysProcAttr = &syscall.SysProcAttr{
				Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			if err := holder.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				holder.Process.Kill()
				holder.Wait()
			})
		}, "in use by another overlay mount, in the mount namespace of process ", false},
		{"index", func(t *testing.T, m *image) {
			m.unmount()
			m.options = "index=on"
			m.mount(t)
		}, `option "index=on" of the overlay is unsupported`, true},
		{"no idmapped mounts", func(t *testing.T, m *image) {
			m.unmount()
			ram := filepath.Join(m.dir, "ram")
			if err := os.Mkdir(ram, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("ramfs", ram, "ramfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				m.unmount()
				if err := syscall.Unmount(ram, 0); err != nil {
					t.Error(err)
				}
			})
			m.lower = append(m.lower, ram)
			m.mount(t)
		}, "idmapped mounts are not possible here", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newImage(t)
			tt.prepare(t, m)
			before := listing(t, append(m.lower, m.upper())...)
			table := mountsOf(t, m.merged)
			b := m.bundle(t, inspectScript)
			r := wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "-b", b.dir, b.id)
			if r.Code != 1 || !strings.Contains(r.Stderr, tt.want) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%+v, want %q", r, tt.want)
			}
			if after := listing(t, append(m.lower, m.upper())...); !slices.Equal(after, before) {
				t.Errorf("layers have changed:\n%s\n%s", before, after)
			}
			if now := mountsOf(t, m.merged); now != table {
				t.Errorf("mounts\n%s\nwant\n%s", now, table)
			}
			if !tt.canCopy {
				return
			}
			r = wrapped(t, "runc", []string{"--user-remap", remap100000, "--allow-copyup"}, "run", "-b",
				b.dir, b.id)
			if r.Code != 0 || r.Stdout != inspectOutput {
				t.Errorf("with --allow-copyup: %+v", r)
			}
			checkUpper(t, m.upper(), firstID)
			if uid := owner(t, filepath.Join(m.upper(), "bin/busybox")); uid != firstID {
				t.Errorf("bin/busybox belongs to %d", uid)
			}
		})
	}
}

// mountsOf returns the mounts on a directory, with their options.
func mountsOf(t *testing.T, dir string) (text string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Fields(line)[1] == dir {
			text += line
		}
	}
	return text
}

// TestLayersKilled kills the wrapper at each system call that mounts or changes something. Whatever
// the engine does then, the next start succeeds with the same files.
func TestLayersKilled(t *testing.T) {
	var calls []ctr.Call
	for _, number := range []uint32{unix.SYS_UNSHARE, unix.SYS_MOUNT, unix.SYS_UMOUNT2,
		unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE, unix.SYS_FCHOWNAT,
		unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR,
		unix.SYS_FSETXATTR, unix.SYS_UNLINKAT} {
		calls = append(calls, ctr.Call{Number: number})
	}
	m := newImage(t)
	before := listing(t, m.lower...)
	for n := 1; ; n++ {
		c := m.container(t)
		upper := c.upper()
		if err := os.WriteFile(filepath.Join(upper, "suid"), nil, 0o755); err != nil { // added by the engine
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(upper, "suid"), 0o4755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
		b := c.bundle(t, "")
		args := []string{"runtime", "--runtime", "/bin/true", "--jobs", "1", "--user-remap", remap100000,
			"--", "create", "-b", b.dir, b.id}
		r, err := ctr.RunTraced(n, calls, shared.shift, args...)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Killed {
			if r.Code != 0 || n < 20 {
				t.Errorf("killed %d times: %+v", n-1, r)
			}
			must(t, "runtime", "--runtime", "/bin/true", "--", "delete", b.id)
			break
		}
		if n%2 == 0 { // the engine unmounts it and mounts it again, or does nothing
			c.unmount()
		}
		if len(mountsOf(t, c.merged)) == 0 {
			c.mount(t)
		}
		must(t, args...)
		entries, err := os.ReadDir(filepath.Join(runDir, b.id, "rootfs"))
		if err != nil || len(entries) < 5 {
			t.Errorf("call %d: the container has files %v (%v)", n, entries, err)
		}
		checkUpper(t, upper, firstID)
		info, err := os.Stat(filepath.Join(c.merged, "suid"))
		if err != nil || info.Mode()&os.ModeSetuid == 0 {
			t.Errorf("call %d: %v %v", n, info, err)
		}
		if uid := owner(t, filepath.Join(c.merged, "bin/busybox")); uid != firstID {
			t.Errorf("call %d: bin/busybox belongs to %d", n, uid)
		}
		must(t, "runtime", "--runtime", "/bin/true", "--", "delete", b.id)
		c.unmount()
	}
	if after := listing(t, m.lower...); !slices.Equal(after, before) {
		t.Errorf("lower layers have changed:\n%s\n%s", before, after)
	}
}
