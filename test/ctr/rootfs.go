package ctr

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// NewRootfs creates a root file system in dir: busybox with its applets, and the program load.
func NewRootfs(ctx context.Context, dir string) error {
	for _, sub := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var/lib/lxc/lxcfs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w (make deps installs it)", err)
	}
	// The busybox of an installer often has shared libraries.
	if err := copyWithLibraries(ctx, dir, busybox, "bin/busybox"); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's applets: %w", err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	load, err := Program(ctx, dir, "load", "palisade/test/load")
	if err != nil {
		return err
	}
	return copyProgram(load, filepath.Join(dir, "bin/load"))
}

// NewInitRootfs creates one whose /sbin/init is busybox's, with an inittab.
func NewInitRootfs(ctx context.Context, dir, inittab string) error {
	if err := NewRootfs(ctx, dir); err != nil {
		return err
	}
	for _, sub := range []string{"mnt", "run", "sbin", "var/lib/lxcfs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/bin/busybox", filepath.Join(dir, "sbin/init")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "etc/inittab"), []byte(inittab), 0o644)
}

// Program returns the path of a statically linked program of this project: the path in the
// environment (PALISADE_LOAD for load) if set, else that of a new build in dir.
func Program(ctx context.Context, dir, name, pkg string) (string, error) {
	if path := os.Getenv("PALISADE_" + strings.ToUpper(name)); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, name+".built")
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", path}
	if os.Getenv("GOCOVERDIR") != "" { // make cover
		args = append(args, "-cover", "-coverpkg=palisade/internal/...,palisade/cmd/...")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return path, nil
}

func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

func itoa(n int) string { return strconv.Itoa(n) }

// interpreterOf returns the dynamic linker of a program, or "" for a static one.
func interpreterOf(program string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", program, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		path, err := io.ReadAll(p.Open())
		return strings.TrimRight(string(path), "\x00"), err
	}
	return "", nil
}

// sharedLibrary matches the paths in the output of a dynamic linker.
var sharedLibrary = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+)`)

// AddHostProgram replaces busybox's applets by programs of this machine, with their shared
// libraries: procps reads /proc where busybox calls sysinfo(2), which lxcfs cannot answer.
func AddHostProgram(ctx context.Context, rootfs string, names ...string) error {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%w (make deps installs it)", err)
		}
		applet := filepath.Join("bin", filepath.Base(name)) // a link to busybox, which must not be overwritten
		if err := os.Remove(filepath.Join(rootfs, applet)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := copyWithLibraries(ctx, rootfs, path, applet); err != nil {
			return err
		}
	}
	return nil
}

// copyWithLibraries copies a program to a path in rootfs, and its shared libraries to their paths.
func copyWithLibraries(ctx context.Context, rootfs, program, to string) error {
	if err := copyProgram(program, filepath.Join(rootfs, to)); err != nil {
		return err
	}
	interpreter, err := interpreterOf(program)
	if err != nil || interpreter == "" {
		return err
	}
	out, err := exec.CommandContext(ctx, interpreter, "--list", program).Output() // as ldd does
	if err != nil {
		return fmt.Errorf("list the shared libraries of %s: %w", program, err)
	}
	for _, found := range sharedLibrary.FindAllStringSubmatch(string(out), -1) {
		library := filepath.Join(rootfs, found[1])
		if err := os.MkdirAll(filepath.Dir(library), 0o755); err != nil {
			return err
		}
		if err := copyProgram(found[1], library); err != nil {
			return err
		}
	}
	return nil
}
