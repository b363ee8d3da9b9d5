package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"palisade/test/ctr"
)

//go:embed init.sh
var initScript string

// guest builds the guest's root file system.
type guest struct {
	root   string
	kernel kernel
	mode   string
	// engines is the directory of the programs of "make runtimes", if there is one.
	engines string
	// script runs the tests.
	script strings.Builder
	// disks lists the images of the guest's disks.
	disks []string
}

// addDisk adds a disk, and returns its device in the guest.
func (g *guest) addDisk(image string) (device string) {
	g.disks = append(g.disks, image)
	return "/dev/vd" + string(rune('a'+len(g.disks)-1))
}

// addTest compiles the tests of a package, and adds them to the script.
func (g *guest) addTest(ctx context.Context, pkg, run string) error {
	name := filepath.Base(pkg)
	if err := g.compile(ctx, pkg); err != nil {
		return err
	}
	fmt.Fprintf(&g.script, "cd /tests/%s && ./%s.test -test.v -test.run '%s'\necho \"%s%s $?\"\n", name, name, run, resultMark, name)
	return nil
}

// compile compiles the tests of a package into a directory with their test data.
func (g *guest) compile(ctx context.Context, pkg string) error {
	name := filepath.Base(pkg)
	dir := filepath.Join(g.root, "tests", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := build(ctx, "test", "-c", "-tags", "integration", "-o", filepath.Join(dir, name+".test"), pkg); err != nil {
		return err
	}
	if data := filepath.Join(pkg, "testdata"); isDir(data) {
		if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data)); err != nil {
			return err
		}
	}
	return nil
}

// build runs the Go compiler for a static binary.
func build(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// pack completes the file system, and packs it into an initramfs.
func (g *guest) pack(ctx context.Context, initrd string) error {
	for _, dir := range []string{"bin", "dev", "etc", "lib/modules", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "sbin", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(g.root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, pkg := range map[string]string{
		"lxcfs": "./cmd/lxcfs", "lxcfs-metrics": "./cmd/lxcfs/lxcfs-metrics", "lxcfs-toolkit": "./cmd/lxcfs-toolkit", "palisade": "./cmd/palisade", "userns-shift": "./cmd/userns-shift", "load": "./test/load",
		"evil": "./test/remap/evil",
	} {
		bin := filepath.Join(g.root, "bin", name)
		if err := build(ctx, "build", "-trimpath", "-buildvcs=false", "-o", bin, pkg); err != nil {
			return err
		}
	}
	if _, err := output(ctx, ".", "env", "GOARCH=386", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false",
		"-o", filepath.Join(g.root, "bin/load32"), "./test/load"); err != nil {
		return err
	}
	for _, name := range []string{"busybox", "runc", "crun", "bwrap", "getconf", "lscpu", "lstopo-no-graphics", "numactl", "unshare"} {
		if err := g.addProgram(ctx, name); err != nil {
			return err
		}
	}
	if err := g.addRuntimes(ctx); err != nil {
		return err
	}
	load, err := g.addModules()
	if err != nil {
		return err
	}
	script := strings.NewReplacer("@MODE@", g.mode, "@MODULES@", load, "@ENGINES@", g.engines, "@TESTS@", g.script.String()).Replace(initScript)
	if err := os.WriteFile(filepath.Join(g.root, "init"), []byte(script), 0o755); err != nil {
		return err
	}
	_, err = output(ctx, g.root, "sh", "-c", "find . | cpio --quiet -o -H newc | gzip -1 >"+initrd)
	return err
}

// addRuntimes copies the runtimes of "make runtimes" to their paths. Without them the tests that use
// them fail.
func (g *guest) addRuntimes(ctx context.Context) error {
	path, err := ctr.NewRuntime(ctx, "runc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = g.addFile(ctx, path, path)
	}
	if err == nil {
		path, err = ctr.NewRuntime(ctx, "crun")
	}
	if err == nil {
		err = g.addFile(ctx, path, path)
	}
	if err == nil {
		err = os.CopyFS(filepath.Join(g.root, path+".sid"), os.DirFS(path+".sid"))
	}
	g.engines = filepath.Dir(filepath.Dir(path))
	return err
}

// addModules copies the kernel's modules and returns the commands that load them.
func (g *guest) addModules() (string, error) {
	files, err := g.kernel.moduleFiles()
	if err != nil {
		return "", err
	}
	var load strings.Builder
	for _, file := range files {
		name := filepath.Base(file)
		if err := copyFile(filepath.Join(g.kernel.modules, file), filepath.Join(g.root, "lib/modules", name)); err != nil {
			return "", err
		}
		fmt.Fprintf(&load, "insmod /lib/modules/%s\n", name)
	}
	return load.String(), nil
}

// sharedLibrary matches the paths in the output of ldd.
var sharedLibrary = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+)`)

// addProgram copies a program of this machine to /bin, and its shared libraries to their paths.
func (g *guest) addProgram(ctx context.Context, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w (make deps installs it)", err)
	}
	return g.addFile(ctx, path, filepath.Join("/bin", name))
}

// addFile copies a program or library of this machine, and its shared libraries to their paths.
func (g *guest) addFile(ctx context.Context, path, to string) error {
	if err := copyFile(path, filepath.Join(g.root, to)); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ldd", path).Output()
	if err != nil {
		return nil // static
	}
	for _, found := range sharedLibrary.FindAllStringSubmatch(string(out), -1) {
		if err := copyFile(found[1], filepath.Join(g.root, found[1])); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, text, 0o755); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
