//go:build integration

package remap

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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
	if left, err := os.ReadDir(runDir); err == nil && len(left) != 0 {
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
	for _, mode := range []string{"leave"} {
		r := runVolumes(t, "runc", remap100000, mode, script, withMounts(bind(volume, "/data")))
		if r.Stdout != "65534\n0\n" {
			t.Errorf("%s: %+v", mode, r)
		}
	}
	if err := os.Chown(volume, firstID+5, firstID+5); err != nil {
		t.Fatal(err)
	}
	r := runVolumes(t, "runc", remap100000, "idmap", script, withMounts(bind(volume, "/data")))
	if r.Stdout != "5\n0\n" {
		t.Errorf("the container's own: %+v", r)
	}
}
