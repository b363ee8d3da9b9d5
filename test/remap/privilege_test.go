//go:build integration

package remap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// plantScript is the script of a container whose root leaves privileged programs in its root file
// system.
const plantScript = `mkdir -p /suid /caps && ` +
	`cp /bin/evil /suid/evil && cp /bin/evil /caps/evil && ` +
	`chmod 4755 /suid/evil && chmod 755 /caps/evil && /bin/evil caps /caps/evil && ls -n /suid/evil`

// newEvilBundle creates a bundle whose container runs plantScript, with an engine's default
// capabilities.
func newEvilBundle(t *testing.T) *bundle {
	t.Helper()
	b := newBundle(t, plantScript, func(s *specs.Spec) {
		caps := []string{"CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP", "CAP_DAC_OVERRIDE"}
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: caps, Effective: caps, Permitted: caps,
		}
	})
	program, err := os.ReadFile(shared.evil)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.rootfs, "bin/evil"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkHarmless checks that the programs of plantScript in the root file system at dir give an
// unprivileged user of the host neither uid 0 nor capabilities.
func checkHarmless(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"suid", "caps"} {
		program := filepath.Join(dir, name, "evil")
		if _, err := os.Stat(program); err != nil {
			t.Fatal(err) // the container did not create it
		}
		cmd := exec.CommandContext(t.Context(), program, "show")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
		}
		out, err := cmd.CombinedOutput()
		status := string(out)
		isHarmless := errors.Is(err, os.ErrPermission) || err == nil && !hasRoot(status) &&
			strings.Contains(status, "CapEff:\t0000000000000000\n")
		if !isHarmless {
			t.Errorf("uid 65534 executes %s: %s (%v)", program, out, err)
		}
	}
}

// hasRoot reports whether one of the uids in a process's status is 0.
func hasRoot(status string) bool {
	for line := range strings.Lines(status) {
		if uids, ok := strings.CutPrefix(line, "Uid:"); ok {
			for uid := range strings.FieldsSeq(uids) {
				if uid == "0" {
					return true
				}
			}
			return false
		}
	}
	return true // unknown
}

// TestPlantedPrograms checks that set-id programs and programs with capabilities that a container
// leaves do not give a user of the host any privilege, in every mode, and with open and closed
// directories.
func TestPlantedPrograms(t *testing.T) {
	for _, mode := range []string{"auto", "shift"} {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s closed=%v", mode, closed), func(t *testing.T) {
				b := newEvilBundle(t)
				want := firstID
				if closed {
					closeDir(t, b.dir)
					if mode == "auto" {
						want = 0
					}
				}
				options := []string{"--mode", mode, "--user-remap", remap100000}
				r := wrapped(t, "runc", options, "run", "--bundle", b.dir, b.id)
				if r.Code != 0 || !strings.HasPrefix(r.Stdout, "-rws") {
					t.Fatalf("%+v", r)
				}
				if uid := owner(t, filepath.Join(b.rootfs, "suid/evil")); uid != want {
					t.Errorf("the program belongs to %d on the disk, want %d", uid, want)
				}
				checkHarmless(t, b.rootfs)
			})
		}
	}
}

// closeDir restricts a directory to root.
func closeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestOpenDirectoryAtEachStart checks that a root file system is idmapped only while the directory
// above it is closed.
func TestOpenDirectoryAtEachStart(t *testing.T) {
	b := newEvilBundle(t)
	options := []string{"--mode", "idmap", "--user-remap", remap100000}
	run := func() engine.Ran { return wrapped(t, "runc", options, "run", "--bundle", b.dir, b.id) }
	refuse := func(when string) {
		t.Helper()
		r := run()
		hasRemedy := strings.HasSuffix(r.Stderr, ": chmod 0700 "+b.dir+"\n")
		if r.Code != 1 || strings.Count(r.Stderr, "\n") != 1 || !hasRemedy {
			t.Errorf("%s: %+v", when, r)
		}
	}
	refuse("open")
	closeDir(t, b.dir)
	for range 2 {
		if r := run(); r.Code != 0 {
			t.Fatalf("closed: %+v", r)
		}
	}
	if info, err := os.Stat(b.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v (%v) of the bundle's directory, want 0700", info.Mode(), err)
	}
	checkHarmless(t, b.rootfs)
	for _, mode := range []os.FileMode{0o711, 0o710, 0o701} {
		if err := os.Chmod(b.dir, mode); err != nil {
			t.Fatal(err)
		}
		refuse(fmt.Sprintf("mode %o", mode))
	}
	options[1] = "auto"
	if r := run(); r.Code != 0 {
		t.Fatalf("open again: %+v", r)
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	checkOwners(t, b.rootfs, firstID)
	checkHarmless(t, b.rootfs)
}

// TestParkedProcess checks that a root file system is not idmapped while a process of an
// unprivileged user is in it, or has it open, from before the directory above was closed.
func TestParkedProcess(t *testing.T) {
	for name, script := range map[string]string{
		"working directory":   "cd %s/bin && echo in && exec /bin/sleep 60",
		"directory above":     "cd %s/.. && echo in && exec /bin/sleep 60",
		"root file system":    "cd %s && echo in && exec /bin/sleep 60",
		"open file":           "exec 5<%s/bin/busybox && cd / && echo in && exec /bin/sleep 60",
		"own user namespace":  "cd %s && exec unshare -Ur sh -c 'echo in; exec sleep 60'",
		"own mount namespace": "cd %s && exec unshare -Urm sh -c 'echo in; exec sleep 60'",
		"program":             "cd / && exec %s/bin/sh -c 'echo in; kill -STOP $$'",
	} {
		t.Run(name, func(t *testing.T) {
			b := newEvilBundle(t)
			addMountPoints(t, b.rootfs)
			point := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", fmt.Sprintf(script, b.rootfs))
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
			}
			ctr.StartReady(t, cmd) // fails if users may not create user namespaces
			closed := b.dir
			if name == "directory above" {
				closed = filepath.Dir(closed)
			}
			closeDir(t, closed)
			options := []string{"--mode", "idmap", "--user-remap", remap100000}
			isForeign := name == "own mount namespace"
			for _, r := range []engine.Ran{
				wrapped(t, "runc", options, "run", "-b", b.dir, b.id),
				shift(t, "mount", "--user-remap", remap100000, b.rootfs, point),
			} {
				isRefused := r.Code == 1 && strings.Contains(r.Stderr,
					fmt.Sprintf(": stop process %d, which has it open", cmd.Process.Pid))
				if isRefused == isForeign {
					t.Errorf("%+v", r)
				}
			}
			if isForeign {
				must(t, "umount", point)
			}
		})
	}
}

// TestMappedRefused checks that a root file system is idmapped only if other users can reach it by
// no path.
func TestMappedRefused(t *testing.T) {
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" +
		"\x02\x00\x01\x00\xfe\xff\x00\x00" +
		// u:65534:x
		"\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x01\x00\xff\xff\xff\xff" +
		"\x20\x00\x00\x00\xff\xff\xff\xff"
	elsewhere := func(t *testing.T, source string, flags uintptr) string {
		t.Helper()
		point := filepath.Join(openDir(t), "elsewhere")
		if err := os.Mkdir(point, 0o755); err != nil {
			t.Fatal(err)
		}
		mountFor(t, source, point, syscall.MS_BIND)
		if flags != 0 {
			remountFor(t, point, flags)
		}
		return point
	}
	for _, tt := range []struct {
		name string
		open func(t *testing.T, b *bundle) (remedy string) // "" if the directory stays closed
	}{
		{"an access control list", func(t *testing.T, b *bundle) string {
			if err := syscall.Setxattr(b.dir, "system.posix_acl_access", []byte(acl), 0); err != nil {
				t.Fatal(err)
			}
			return "chmod 0700 " + b.dir
		}},
		{"a directory of another user", func(t *testing.T, b *bundle) string {
			if err := os.Chown(b.dir, 65534, 0); err != nil {
				t.Fatal(err)
			}
			return "chown root " + b.dir + " && chmod 0700 " + b.dir
		}},
		{"mounted elsewhere", func(t *testing.T, b *bundle) string {
			return "umount " + elsewhere(t, b.rootfs, 0)
		}},
		{"a part of it mounted elsewhere", func(t *testing.T, b *bundle) string {
			return "umount " + elsewhere(t, filepath.Join(b.rootfs, "bin"), 0)
		}},
		{"the directory above mounted elsewhere", func(t *testing.T, b *bundle) string {
			point := elsewhere(t, b.dir, 0)
			if err := os.Chmod(filepath.Dir(point), 0o755); err != nil {
				t.Fatal(err)
			}
			return "" // its mode keeps others out
		}},
		{"mounted elsewhere, nosuid", func(t *testing.T, b *bundle) string {
			elsewhere(t, b.rootfs, syscall.MS_NOSUID)
			return ""
		}},
		{"mounted elsewhere, in a closed directory", func(t *testing.T, b *bundle) string {
			closeDir(t, filepath.Dir(elsewhere(t, b.rootfs, 0)))
			return ""
		}},
		{"mounted elsewhere with mapped ids", func(t *testing.T, b *bundle) string {
			mapElsewhere(t, b.rootfs, "0:300000:65536")
			return ""
		}},
		{"mounted elsewhere with ids mapped to themselves", func(t *testing.T, b *bundle) string {
			return "umount " + mapElsewhere(t, b.rootfs, "0:0:65536")
		}},
		{"mounted in a mount that is nosuid", func(t *testing.T, b *bundle) string {
			inside := filepath.Join(elsewhere(t, b.rootfs, syscall.MS_NOSUID), "root")
			mountFor(t, b.rootfs, inside, syscall.MS_BIND)
			closeDir(t, b.rootfs) // no effect, since the container can open it again
			return "umount " + inside
		}},
		{"a layer of an overlay", func(t *testing.T, b *bundle) string {
			return "umount " + overlayFor(t, b.rootfs)
		}},
		{"a layer of an overlay of overlays", func(t *testing.T, b *bundle) string {
			merged := overlayFor(t, b.rootfs)
			closeDir(t, filepath.Dir(merged))
			return "umount " + overlayFor(t, merged)
		}},
		{"a layer of an overlay with a blank in its path", func(t *testing.T, b *bundle) string {
			renamed := filepath.Join(b.dir, "root fs")
			if err := os.Rename(b.rootfs, renamed); err != nil {
				t.Fatal(err)
			}
			merged := overlayFor(t, renamed)
			b.rootfs = renamed
			b.edit(t, func(s *specs.Spec) { s.Root.Path = renamed })
			return "umount " + merged
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newEvilBundle(t)
			addMountPoints(t, b.rootfs)
			closeDir(t, b.dir)
			point := filepath.Join(openDir(t), "point")
			if err := os.Mkdir(point, 0o755); err != nil {
				t.Fatal(err)
			}
			remedy := tt.open(t, b)
			check := func(what string, r engine.Ran) {
				t.Helper()
				if remedy == "" && r.Code != 0 {
					t.Errorf("%s: %+v", what, r)
				}
				if remedy != "" && (r.Code == 0 || !strings.Contains(r.Stderr, ": "+remedy)) {
					t.Errorf("%s: %+v, want the remedy %q", what, r, remedy)
				}
			}
			options := []string{"--mode", "idmap", "--user-remap", remap100000}
			check("run", wrapped(t, "runc", options, "run", "-b", b.dir, b.id))
			r := shift(t, "mount", "--user-remap", remap100000, b.rootfs, point)
			check("mount", r)
			if r.Code == 0 {
				must(t, "umount", point)
			} else if strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("more than one line: %+v", r)
			}
			checked := shift(t, "check", "--user-remap", remap100000, b.rootfs)
			hasNote := strings.Contains(checked.Stdout, "note: ")
			if hasNote != (remedy != "") || !strings.Contains(checked.Stdout, remedy) {
				t.Errorf("check: %+v, want %q", checked, remedy)
			}
		})
	}
}

// TestMappedLinks checks that a root file system with a hard link outside is not idmapped by
// default.
func TestMappedLinks(t *testing.T) {
	b := newEvilBundle(t)
	closeDir(t, b.dir)
	outside := filepath.Join(openDir(t), "outside")
	if err := os.Link(filepath.Join(b.rootfs, "bin/evil"), outside); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"auto", "idmap"} {
		options := []string{"--mode", mode, "--user-remap", remap100000}
		r := wrapped(t, "runc", options, "run", "-b", b.dir, b.id)
		if r.Code != 1 || !strings.Contains(r.Stderr, `"bin/evil" (1 of 2 names are inside)`) {
			t.Errorf("%s: %+v", mode, r)
		}
	}
	options := []string{"--mode", "idmap", "--hardlinks", "ignore", "--user-remap", remap100000}
	if r := wrapped(t, "runc", options, "run", "-b", b.dir, b.id); r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

// overlayFor mounts an overlay with a directory as a layer where all users can reach it.
func overlayFor(t *testing.T, layer string) (merged string) {
	t.Helper()
	merged = filepath.Join(openDir(t), "merged")
	if err := os.Mkdir(merged, 0o755); err != nil {
		t.Fatal(err)
	}
	options := "lowerdir=" + layer + ":" + filepath.Dir(merged)
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmountFor(t, merged) })
	return merged
}

// mapElsewhere creates an idmapped mount of a root file system where all users can reach it.
func mapElsewhere(t *testing.T, rootfs, ids string) (point string) {
	t.Helper()
	point = filepath.Join(openDir(t), "mapped")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "mount", "--uidmap", ids, "--gidmap", ids, rootfs, point)
	t.Cleanup(func() { unmountFor(t, point) })
	return point
}

// mountFor mounts a directory until the test ends.
func mountFor(t *testing.T, source, target string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount(source, target, "", flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmountFor(t, target) })
}

// remountFor changes the flags of a bind mount.
func remountFor(t *testing.T, point string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("", point, "", syscall.MS_REMOUNT|syscall.MS_BIND|flags, ""); err != nil {
		t.Fatal(err)
	}
}

func unmountFor(t *testing.T, target string) {
	t.Helper()
	if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// TestEngineMountNamespace checks that a mount by which other users can reach the root file system
// is found if the engine's mount namespace lacks it.
func TestEngineMountNamespace(t *testing.T) {
	b := newEvilBundle(t)
	closeDir(t, b.dir)
	point := filepath.Join(openDir(t), "elsewhere")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	mountFor(t, b.rootfs, point, syscall.MS_BIND)
	options := []string{"--mode", "idmap", "--user-remap", remap100000}
	line := wrappedLine("runc", options, "run", "-b", b.dir, b.id)
	script := "umount " + point + ` && exec "$@"`
	args := append([]string{"--mount", "--", "sh", "-c", script, "sh"}, line...)
	r := engine.Run(t, "", "unshare", args...)
	if r.Code != 1 || !strings.Contains(r.Stderr, ": umount "+point) {
		t.Errorf("%+v", r)
	}
}
