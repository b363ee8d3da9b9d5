//go:build integration

package remap

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// diskFileSystems are those of volumes on disks, with the command lines that create them.
var diskFileSystems = map[string][]string{
	"ext4":  {"mke2fs", "-q", "-t", "ext4", "-m", "0", "-F"},
	"xfs":   {"mkfs.xfs", "-q", "-f"},
	"btrfs": {"mkfs.btrfs", "-q", "-f"},
	"tmpfs": nil,
}

// mountDisk mounts a new file system until the test ends, and closes its root directory to other
// users.
func mountDisk(t *testing.T, fsType string) string {
	t.Helper()
	dir := openDir(t)
	args := []string{"-t", fsType, fsType, dir}
	if mkfs := diskFileSystems[fsType]; mkfs != nil {
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 400<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s (make deps installs it)", mkfs, err, out)
		}
		args = []string{"-t", fsType, "-o", "loop", image, dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Fatalf("mount %q: %v: %s", args, err, out)
	}
	unmountAfter(t, dir)
	return dir
}

func unmountAfter(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// mountOn mounts until the test ends.
func mountOn(t *testing.T, source, target, fsType string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fsType, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	unmountAfter(t, target)
}

// newVolume creates a directory that only root can reach, below dir, with a secret file of root and
// one of uid 1000.
func newVolume(t *testing.T, dir string) string {
	t.Helper()
	closed := filepath.Join(dir, fmt.Sprintf("closed-%d", time.Now().UnixNano()))
	volume := filepath.Join(closed, "volume")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	writeOwned(t, filepath.Join(volume, "secret"), 0)
	writeOwned(t, filepath.Join(volume, "user"), 1000)
	return volume
}

// writeOwned creates a file that only its owner can read.
func writeOwned(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.WriteFile(path, []byte(filepath.Base(path)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// bind returns a bind mount of a container, with other options than bind.
func bind(source, destination string, options ...string) specs.Mount {
	if !slices.Contains(options, "rbind") {
		options = append(options, "bind")
	}
	return specs.Mount{Type: "bind", Source: source, Destination: destination, Options: options}
}

// withMounts adds mounts to a configuration.
func withMounts(mounts ...specs.Mount) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Mounts = append(s.Mounts, mounts...) }
}

// runVolumes runs a container with a range of ids, and returns the result.
func runVolumes(
	t *testing.T, runtime, remap, mode, script string, edit func(*specs.Spec),
) engine.Ran {
	t.Helper()
	b := newBundle(t, script, edit)
	closeDir(t, b.dir)
	options := []string{"--user-remap", remap, "--volumes", mode}
	r := wrapped(t, runtime, options, "run", "--bundle", b.dir, b.id)
	if left, err := os.ReadDir(filepath.Join(runDir, b.id)); err == nil {
		t.Errorf("left in %s: %v", runDir, left)
	}
	return r
}

// wantRan checks the output of a container.
func wantRan(t *testing.T, r engine.Ran, stdout string) {
	t.Helper()
	if r.Code != 0 || r.Stdout != stdout {
		t.Errorf("%+v, want %q", r, stdout)
	}
}

const volumeScript = `cd /data; stat -c %u . secret user; cat secret; ` +
	`echo x >made; stat -c %u made; mkdir sub; touch sub/file`

// TestVolumes checks the owners that a container sees in a volume, and those on the disk of files
// that it creates, on each file system.
func TestVolumes(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for fsType := range diskFileSystems {
			t.Run(fsType, func(t *testing.T) {
				disk := mountDisk(t, fsType)
				for _, tt := range []struct {
					mode, stdout string
					made         int
				}{
					{"idmap", "0\n0\n1000\nsecret\n0\n", 0},
					{"shift", "0\n0\n1000\nsecret\n0\n", firstID},
				} {
					volume := newVolume(t, disk)
					r := runVolumes(t, runtime, remap100000, tt.mode, volumeScript,
						withMounts(bind(volume, "/data")))
					wantRan(t, r, tt.stdout)
					for _, name := range []string{"made", "sub/file", "secret", "."} {
						if uid := owner(t, filepath.Join(volume, name)); uid != tt.made {
							t.Errorf("%s: %s belongs to %d on the disk, want %d", tt.mode, name, uid, tt.made)
						}
					}
				}
			})
		}
	})
}

// TestVolumeLeft checks that volumes stay as they are without the option, with leave, and if their
// owner is one of the container's.
func TestVolumeLeft(t *testing.T) {
	const script = `stat -c %u /data; cat /proc/self/mountinfo | grep -c ' /data .*idmapped'`
	volume := newVolume(t, openDir(t))
	r := runVolumes(t, "runc", remap100000, "leave", script, withMounts(bind(volume, "/data")))
	if r.Stdout != "65534\n0\n" {
		t.Errorf("leave: %+v", r)
	}
	if err := os.Chown(volume, firstID+5, firstID+5); err != nil {
		t.Fatal(err)
	}
	r = runVolumes(t, "runc", remap100000, "idmap", script, withMounts(bind(volume, "/data")))
	if r.Stdout != "5\n0\n" {
		t.Errorf("the container's own: %+v", r)
	}
}

// TestVolumeOwner checks volumes that are stored with ids other than the container's: two
// containers with different ranges share one, which other users of the host can reach.
func TestVolumeOwner(t *testing.T) {
	const script = `cd /data; echo x >$0; touch user$0; chown 7:7 user$0; stat -c %u:%g * | sort -u`
	volume := filepath.Join(openDir(t), "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(volume, 500000, 600000); err != nil {
		t.Fatal(err)
	}
	for _, remap := range []string{remap100000, "300000:300000:65535"} {
		r := runVolumes(t, "runc", remap, "idmap=500000:600000:1000", script, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(volume, "/data"))
			s.Process.Args = append(s.Process.Args, "made"+remap)
			withCapabilities("CAP_CHOWN")(s)
		})
		wantRan(t, r, "0:0\n7:7\n")
		for name, want := range map[string]int{"made" + remap: 500000, "usermade" + remap: 500007} {
			if uid := owner(t, filepath.Join(volume, name)); uid != want {
				t.Errorf("%s belongs to %d on the disk, want %d", name, uid, want)
			}
		}
	}
	r := runVolumes(t, "runc", remap100000, "idmap=1000:1000", "echo runs",
		withMounts(bind(volume, "/data")))
	wantRefused(t, r, "volume /data: "+volume+" belongs to 500000:600000, which is not mapped "+
		"(annotation palisade.volumes./data=idmap=500000:600000, or chown it, or ")
}

// withCapabilities gives a container capabilities in its user namespace.
func withCapabilities(names ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: names, Effective: names, Permitted: names,
		}
	}
}

// wantRefused checks that a container was not started, with one line that has the text.
func wantRefused(t *testing.T, r engine.Ran, text string) {
	t.Helper()
	if r.Code != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 ||
		!strings.Contains(r.Stderr, text) {
		t.Errorf("%+v, want %q", r, text)
	}
}

// TestVolumeShared checks that two running containers with different ranges see the files of each
// other as root's.
func TestVolumeShared(t *testing.T) {
	volume := newVolume(t, openDir(t))
	first := newBundle(t, "echo first >/data/first; sleep 1000", withMounts(bind(volume, "/data")))
	closeDir(t, first.dir)
	options := []string{"--user-remap", remap100000, "--volumes", "idmap"}
	startDetached(t, "runc", options, first)
	engine.WaitFor(t, "the file of the first container", func() bool {
		text, err := os.ReadFile(filepath.Join(volume, "first"))
		return err == nil && string(text) == "first\n"
	})
	r := runVolumes(t, "runc", "300000:300000:65535", "idmap",
		"cd /data; stat -c %u first; echo second >>first; cat first", withMounts(bind(volume, "/data")))
	wantRan(t, r, "0\nfirst\nsecond\n")
	out := engineRun("runc", "exec", first.id, "/bin/sh", "-c",
		"stat -c %u /data/first; cat /data/first")
	if out != "0\nfirst\nsecond\n" {
		t.Errorf("the first container sees %q", out)
	}
	if r := wrapped(t, "runc", options, "delete", "--force", first.id); r.Code != 0 {
		t.Errorf("delete: %+v", r)
	}
}

// startDetached starts a container with the wrapper.
func startDetached(t *testing.T, runtime string, options []string, b *bundle) {
	t.Helper()
	log, err := os.Create(filepath.Join(b.dir, "log")) // a pipe would stay open
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	line := wrappedLine(runtime, options, "run", "--detach", "--bundle", b.dir, b.id)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name()) // only for the message
		t.Fatalf("start: %v: %s", err, text)
	}
}

// TestVolumeReadOnly checks that a container cannot make a read-only volume writable, so that other
// users may reach it, unless it has CAP_SYS_ADMIN.
func TestVolumeReadOnly(t *testing.T) {
	const script = `cat /data/secret; touch /data/made; mount -o remount,bind,rw /data; touch /data/made`
	forEachRuntime(t, func(t *testing.T, runtime string) {
		volume := filepath.Join(openDir(t), "volume")
		if err := os.Mkdir(volume, 0o755); err != nil {
			t.Fatal(err)
		}
		writeOwned(t, filepath.Join(volume, "secret"), 0)
		edit := func(s *specs.Spec) {
			withMounts(bind(volume, "/data", "ro"))(s)
			withCapabilities("CAP_SYS_CHROOT")(s)
		}
		run := func() engine.Ran { return runVolumes(t, runtime, remap100000, "idmap", script, edit) }
		if r := run(); r.Stdout != "secret\n" || strings.Count(r.Stderr, "Read-only file system") != 2 {
			t.Errorf("%+v", r)
		}
		edit = func(s *specs.Spec) {
			withMounts(bind(volume, "/data", "ro"))(s)
			withCapabilities("CAP_SYS_ADMIN")(s)
		}
		wantRefused(t, run(), "volume /data: other users of the host can reach "+volume)
		closeDir(t, filepath.Dir(volume))
		if r := run(); r.Stdout != "secret\n" {
			t.Errorf("closed: %+v", r)
		}
		// crun mounts volumes without the kernel's lock on the option.
		if _, err := os.Stat(filepath.Join(volume, "made")); err == nil && runtime == "runc" {
			t.Errorf("the container has made the volume writable")
		}
	})
}

// TestVolumeReachable checks that a volume that other users can reach is refused if the container
// could write files of the host's root, with the remedy, and that each remedy works.
func TestVolumeReachable(t *testing.T) {
	dir := openDir(t)
	volume := filepath.Join(dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	const script = "touch /data/made; stat -c %u /data/made"
	run := func(mode string) engine.Ran {
		return runVolumes(t, "runc", remap100000, mode, script, withMounts(bind(volume, "/data")))
	}
	for _, mode := range []string{"idmap", "idmap=0:0:10", "idmap=1000:0"} {
		if mode == "idmap=1000:0" {
			if err := os.Chown(volume, 1000, 0); err != nil {
				t.Fatal(err)
			}
		}
		wantRefused(t, run(mode), "volume /data: other users of the host can reach "+volume+
			", and execute files that the container makes set-id root (chmod 0700 "+dir+
			", or mount its file system with nosuid, or "+
			"annotation palisade.volumes./data=idmap=UID:GID with an owner other than root)")
	}
	if entries, err := os.ReadDir(volume); err != nil || len(entries) > 0 {
		t.Errorf("files in the volume: %v %v", entries, err)
	}
	if err := os.Chown(volume, 0, 0); err != nil {
		t.Fatal(err)
	}
	closeDir(t, dir)
	wantRan(t, run("idmap"), "0\n")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mountOn(t, "tmpfs", volume, "tmpfs", unix.MS_NOSUID, "mode=755")
	wantRan(t, run("idmap"), "0\n")
}

// TestVolumeHeld checks that a volume is refused while a process of another user is in it.
func TestVolumeHeld(t *testing.T) {
	volume := newVolume(t, openDir(t))
	holder := exec.Command("sleep", "1000")
	holder.Dir = volume
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	if err := os.Chmod(filepath.Dir(volume), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	closeDir(t, filepath.Dir(volume))
	r := runVolumes(t, "runc", remap100000, "idmap", "echo runs", withMounts(bind(volume, "/data")))
	wantRefused(t, r, fmt.Sprintf("(stop process %d, which has it open", holder.Process.Pid))
}

// TestVolumePlanted checks that set-id programs and programs with capabilities that a container
// leaves in its volumes give no user of the host any privilege.
func TestVolumePlanted(t *testing.T) {
	for mode, uid := range map[string]int{"idmap": 0, "idmap=5000:5000": 5000, "shift": firstID} {
		b := newEvilBundle(t)
		closeDir(t, b.dir)
		volume := filepath.Join(openDir(t), "volume")
		if err := os.Mkdir(volume, 0o755); err != nil {
			t.Fatal(err)
		}
		if uid == 0 {
			closeDir(t, filepath.Dir(volume))
		} else if err := os.Chown(volume, uid, uid); err != nil && mode != "shift" {
			t.Fatal(err)
		}
		for _, name := range []string{"suid", "caps"} {
			path := filepath.Join(volume, name)
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		b.edit(t, withMounts(bind(volume+"/suid", "/suid"), bind(volume+"/caps", "/caps")))
		options := []string{"--user-remap", remap100000, "--volumes", mode}
		r := wrapped(t, "runc", options, "run", "--bundle", b.dir, b.id)
		if r.Code != 0 || !strings.HasPrefix(r.Stdout, "-rws") {
			t.Fatalf("%s: %+v", mode, r)
		}
		if got := owner(t, filepath.Join(volume, "suid/evil")); got != uid {
			t.Errorf("%s: the program belongs to %d on the disk, want %d", mode, got, uid)
		}
		checkHarmless(t, volume)
	}
}

// TestVolumeKinds checks single files, sockets, FIFOs and device nodes.
func TestVolumeKinds(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		dir := filepath.Dir(newVolume(t, openDir(t)))
		file, fifo := filepath.Join(dir, "volume/secret"), filepath.Join(dir, "fifo")
		socket, device := filepath.Join(dir, "socket"), filepath.Join(dir, "device")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mknod(device, syscall.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mknod(socket, syscall.S_IFSOCK|0o600, 0); err != nil {
			t.Fatal(err)
		}
		const script = `echo x >>/mnt/file; cat /mnt/file; head -c 2 /mnt/device | od -An -tx1; ` +
			`for f in file fifo socket device; do stat -c "%F %u" /mnt/$f; done`
		r := runVolumes(t, runtime, remap100000, "idmap", script, withMounts(bind(file, "/mnt/file"),
			bind(fifo, "/mnt/fifo"), bind(socket, "/mnt/socket"), bind(device, "/mnt/device")))
		wantRan(t, r, "secret\nx\n 00 00\nregular file 0\nfifo 0\nsocket 0\n"+
			"character special file 0\n")

		if err := os.Link(file, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		r = runVolumes(t, runtime, remap100000, "idmap", script, withMounts(bind(file, "/mnt/file")))
		wantRefused(t, r, "volume /mnt/file: "+file+" has 2 hard links, want a file with one name "+
			"(annotation palisade.volumes./mnt/file=leave)")
	})
}

// TestVolumeNested checks volumes in volumes, the mount point of one of which the runtime creates.
func TestVolumeNested(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		outer, inner := newVolume(t, openDir(t)), newVolume(t, openDir(t))
		r := runVolumes(t, runtime, remap100000, "idmap",
			"touch /data/made /data/a/b/made; stat -c %u /data/made /data/a /data/a/b/secret",
			withMounts(bind(outer, "/data"), bind(inner, "/data/a/b")))
		wantRan(t, r, "0\n0\n0\n")
		for _, made := range []string{outer + "/made", outer + "/a", inner + "/made"} {
			if uid := owner(t, made); uid != 0 {
				t.Errorf("%s belongs to %d on the disk", made, uid)
			}
		}
	})
}

// TestVolumeRecursive checks that the mounts below a recursive bind mount are mapped, each of those
// that cannot be is named, and those of the kernel's file systems stay. crun 1.8.1 leaves out all mounts below a source if
// the container has a user namespace, also without the wrapper.
func TestVolumeRecursive(t *testing.T) {
	volume := newVolume(t, openDir(t))
	for _, sub := range []string{"disk", "proc", "fuse"} {
		if err := os.Mkdir(filepath.Join(volume, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(volume, "disk")
	mountOn(t, "tmpfs", disk, "tmpfs", 0, "mode=755")
	deep := filepath.Join(disk, "a/deep")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	mountOn(t, "tmpfs", deep, "tmpfs", 0, "mode=700")
	mountOn(t, filepath.Join(volume, "user"), filepath.Join(volume, "secret"), "", unix.MS_BIND, "")
	mountOn(t, "proc", filepath.Join(volume, "proc"), "proc", 0, "")
	const script = `cd /data; touch disk/a/deep/made && stat -c %u disk/a/deep/made user secret proc/1`
	run := func(options ...string) engine.Ran {
		return runVolumes(t, "runc", remap100000, "idmap", script,
			withMounts(bind(volume, "/data", options...)))
	}
	wantRan(t, run("rbind"), "0\n1000\n1000\n65534\n")
	if uid := owner(t, filepath.Join(deep, "made")); uid != 0 {
		t.Errorf("made belongs to %d on the disk", uid)
	}
	if r := run(); r.Code != 1 || !strings.Contains(r.Stderr, "touch: disk/a/deep/made: No such file") {
		t.Errorf("not recursive: %+v", r)
	}
	// A file system whose server does not answer is named, and not asked.
	fuse := filepath.Join(volume, "fuse")
	mountFUSE(t, fuse)
	wantRefused(t, run("rbind"), "volume /data: "+fuse+" is on fuse, which cannot be idmapped: "+
		"mount_setattr MOUNT_ATTR_IDMAP: invalid argument (annotation palisade.volumes./data=leave "+
		"or =shift, or unmount it, or bind instead of rbind)")
	r := runVolumes(t, "runc", remap100000, "idmap", script, withMounts(bind(fuse, "/data")))
	wantRefused(t, r, "volume /data: "+fuse+" is on fuse, which cannot be idmapped")
}

// mountFUSE mounts a FUSE file system that no process serves until the test ends.
func mountFUSE(t *testing.T, dir string) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	mountOn(t, "test", dir, "fuse", 0,
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd()))
}

// TestVolumeOverlay checks that an overlay as a volume is named.
func TestVolumeOverlay(t *testing.T) {
	dir := newVolume(t, openDir(t))
	for _, sub := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(dir, "merged")
	mountOn(t, "overlay", merged, "overlay", 0, fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,"+
		"workdir=%s/work", dir, dir, dir))
	r := runVolumes(t, "runc", remap100000, "idmap", "echo runs", withMounts(bind(merged, "/data")))
	wantRefused(t, r, "volume /data: "+merged+" is on overlay, which cannot be idmapped")
}

// TestVolumePropagation checks that later mounts below a source reach the container unless its
// volume is private, and that no mount or unmount reaches the host. crun 1.8.1 makes all volumes of
// a container with a user namespace private.
func TestVolumePropagation(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for option, isFollowing := range map[string]bool{"rprivate": false, "rslave": runtime == "runc",
			"rshared": runtime == "runc"} {
			volume := newVolume(t, openDir(t))
			mountOn(t, volume, volume, "", unix.MS_BIND, "")
			if err := unix.Mount("", volume, "", unix.MS_SHARED, ""); err != nil {
				t.Fatal(err)
			}
			for _, sub := range []string{"earlier", "later", "inside"} {
				if err := os.Mkdir(filepath.Join(volume, sub), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			earlier, later := filepath.Join(volume, "earlier"), filepath.Join(volume, "later")
			mountOn(t, "tmpfs", earlier, "tmpfs", 0, "mode=755")
			b := newBundle(t, "mount -t tmpfs tmpfs /data/inside; sleep 1000", func(s *specs.Spec) {
				withMounts(bind(volume, "/data", "rbind", option))(s)
				withCapabilities("CAP_SYS_ADMIN")(s)
			})
			closeDir(t, b.dir)
			options := []string{"--user-remap", remap100000, "--volumes", "idmap"}
			startDetached(t, runtime, options, b)
			table := func() string {
				line := wrappedLine(runtime, nil, "exec", b.id, "cat", "/proc/self/mountinfo")
				return engineRun(line[0], line[1:]...)
			}
			engine.WaitFor(t, "the container's own mount", func() bool {
				return strings.Contains(table(), " /data/inside ")
			})
			mountOn(t, "tmpfs", later, "tmpfs", 0, "")
			if got := strings.Contains(table(), " /data/later "); got != isFollowing {
				t.Errorf("%s: a later mount is in the container: %v: %s", option, got, table())
			}
			if r := wrapped(t, runtime, options, "delete", "--force", b.id); r.Code != 0 {
				t.Errorf("delete: %+v", r)
			}
			own, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil || strings.Contains(string(own), volume+"/inside ") {
				t.Errorf("%s: the container's mount is on the host: %s (%v)", option, own, err)
			}
			if !strings.Contains(string(own), earlier+" ") || !strings.Contains(string(own), later+" ") {
				t.Errorf("%s: the host's mounts are gone: %s", option, own)
			}
		}
	})
}

// TestVolumeMistakes checks that invalid modes and annotations give one line, and start nothing.
func TestVolumeMistakes(t *testing.T) {
	volume := newVolume(t, openDir(t))
	for _, tt := range []struct {
		annotations map[string]string
		want        string
	}{
		{map[string]string{"palisade.volumes": "map"}, `annotation palisade.volumes: "map" is none of ` +
			"idmap, idmap=UID:GID, idmap=UID:GID:SIZE, shift, leave"},
		{map[string]string{"palisade.volumes./data": "idmap=0"},
			`annotation palisade.volumes./data: owner "0" has 1 fields, want uid:gid or uid:gid:size`},
		{map[string]string{"palisade.volumes./dta": "idmap"},
			"annotation palisade.volumes./dta: the container has no bind mount at /dta"},
		{map[string]string{"palisade.volumes./proc": "idmap"},
			"annotation palisade.volumes./proc: the container has no bind mount at /proc"},
	} {
		r := runVolumes(t, "runc", remap100000, "leave", "echo runs", func(s *specs.Spec) {
			withMounts(bind(volume, "/data"))(s)
			s.Annotations = tt.annotations
		})
		wantRefused(t, r, tt.want)
	}
	b := newBundle(t, "echo runs", nil)
	r := wrapped(t, "runc", []string{"--volumes", "fly"}, "run", "--bundle", b.dir, b.id)
	if r.Code != 2 || !strings.HasPrefix(r.Stderr, `userns-shift: --volumes: "fly" is none of idmap, `) {
		t.Errorf("%+v", r)
	}
}

// TestVolumeAnnotations checks which of the annotations and the environment counts for a volume.
func TestVolumeAnnotations(t *testing.T) {
	dir := openDir(t)
	t.Setenv("USERNS_SHIFT_VOLUMES", "shift")
	b := newBundle(t, "stat -c %u /a /b /c/", func(s *specs.Spec) {
		s.Annotations = map[string]string{"palisade.volumes": "idmap",
			"palisade.volumes./b": "leave", "palisade.volumes./c/": "idmap=5000:5000"}
	})
	closeDir(t, b.dir)
	for _, name := range []string{"a", "b", "c"} {
		volume := newVolume(t, dir)
		if name == "c" {
			if err := os.Chown(volume, 5000, 5000); err != nil {
				t.Fatal(err)
			}
		}
		b.edit(t, withMounts(bind(volume, "/"+name)))
	}
	for range 2 { // the second run has the changed configuration
		wantRan(t, wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "--bundle", b.dir,
			b.id), "0\n65534\n0\n")
	}
}

// TestVolumeCrash kills the wrapper before each of its system calls that change something: delete
// removes what is left, and the next start works.
func TestVolumeCrash(t *testing.T) {
	volume := newVolume(t, openDir(t))
	below := filepath.Join(volume, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	mountOn(t, "tmpfs", below, "tmpfs", 0, "mode=700")
	single := filepath.Join(volume, "secret")
	script := "stat -c %u /data /data/below /single"
	b := newBundle(t, script, withMounts(bind(volume, "/data", "rbind"), bind(single, "/single")))
	closeDir(t, b.dir)
	config, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	calls := []ctr.Call{{Number: unix.SYS_MKDIRAT}, {Number: unix.SYS_OPEN_TREE},
		{Number: unix.SYS_MOVE_MOUNT}, {Number: unix.SYS_MOUNT_SETATTR}, {Number: unix.SYS_RENAMEAT},
		{Number: unix.SYS_UMOUNT2}, {Number: unix.SYS_FCHMODAT}, {Number: unix.SYS_FCHOWNAT}}
	run := func(killAt int, command ...string) ctr.Traced {
		line := append([]string{"runtime", "--runtime", "/bin/true", "--user-remap", remap100000,
			"--volumes", "idmap", "--"}, command...)
		r, err := ctr.RunTraced(killAt, calls, shared.shift, line...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	kills := 0
	for ; ; kills++ {
		r := run(kills+1, "create", "--bundle", b.dir, b.id)
		if !r.Killed {
			if r.Code != 0 {
				t.Fatalf("%+v", r)
			}
			break
		}
		for _, killAt := range []int{kills%3 + 1, 0} { // delete is killed, too
			run(killAt, "delete", b.id)
		}
		if left, err := os.ReadDir(runDir); err == nil && len(left) > 0 {
			t.Fatalf("killed at call %d of %d, left: %v", kills+1, r.Calls, left)
		}
		b.unmount(t)
	}
	if kills < 20 {
		t.Errorf("killed at %d calls", kills)
	}
	run(0, "delete", b.id)
	if err := os.WriteFile(b.config(), config, 0o600); err != nil {
		t.Fatal(err)
	}
	options := []string{"--user-remap", remap100000, "--volumes", "idmap"}
	wantRan(t, wrapped(t, "runc", options, "run", "--bundle", b.dir, b.id), "0\n0\n0\n")
}
