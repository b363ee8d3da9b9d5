//go:build integration

package userns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fileSystem is a file system for tests, on a loop device or in memory.
type fileSystem struct {
	name string
	// mkfs is the command line that creates it in a file, or nil for one in memory.
	mkfs []string
	// hasAttrs reports whether it has extended attributes.
	hasAttrs bool
	dir      string
	err      error
}

// fileSystems has the usual file systems for root file systems, and ramfs as one without extended
// attributes.
var fileSystems = []*fileSystem{
	{name: "ext4", mkfs: []string{"mke2fs", "-q", "-t", "ext4", "-m", "0", "-F"}, hasAttrs: true},
	{name: "xfs", mkfs: []string{"mkfs.xfs", "-q", "-f"}, hasAttrs: true},
	{name: "btrfs", mkfs: []string{"mkfs.btrfs", "-q", "-f"}, hasAttrs: true},
	{name: "tmpfs", hasAttrs: true},
	{name: "ramfs"},
}

// size is the size of the sparse file with a file system.
const size = 400 << 20

// onFileSystems runs a test on all file systems in parallel.
func onFileSystems(t *testing.T, test func(t *testing.T, f *fileSystem, dir string)) {
	t.Helper()
	for _, f := range fileSystems {
		if inVM() && f.mkfs != nil {
			continue // its kernel has only those in memory
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, f, f.newDir(t))
		})
	}
}

// named returns the file system with a name.
func named(name string) *fileSystem {
	for _, f := range fileSystems {
		if f.name == name {
			return f
		}
	}
	panic("no file system " + name)
}

// mount mounts the file system. Tests that use it report an error.
func (f *fileSystem) mount() {
	f.dir = filepath.Join(shared.dir, f.name)
	f.err = mountNew(f.dir, f.name, f.mkfs, size)
}

// newDir returns a new directory on the file system. Only root may enter it.
func (f *fileSystem) newDir(t *testing.T) string {
	t.Helper()
	if f.err != nil {
		t.Fatal(f.err)
	}
	dir, err := os.MkdirTemp(f.dir, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mountForTest is mountNew until the test ends.
func mountForTest(t *testing.T, dir, fsType string, mkfs []string, size int64) {
	t.Helper()
	if err := mountNew(dir, fsType, mkfs, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// openToAll lets all users enter a directory.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// mountNew creates a file system and mounts it on dir.
func mountNew(dir, fsType string, mkfs []string, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"-t", fsType, fsType, dir}
	if mkfs != nil {
		image := dir + ".image"
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(image, size); err != nil {
			return err
		}
		if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s (make deps installs it)", strings.Join(mkfs, " "), err, out)
		}
		args = []string{"-t", fsType, "-o", "loop", image, dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %q: %w: %s", args, err, out)
	}
	return os.Chmod(dir, 0o755)
}

// removeTree removes a tree, also with immutable files.
func removeTree(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && (d.IsDir() || d.Type().IsRegular()) {
			setFlags(path, 0) // an error here fails the removal
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// mount mounts a file system until the test ends.
func mount(t *testing.T, source, target, fsType string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fsType, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}
