package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules lists the modules that are loaded in the guest, with their dependencies.
var modules = []string{"fuse", "overlay", "loop", "lzo", "lzo-rle", "zram", "virtio_pci", "virtio_blk", "ext4", "crc32c_generic"}

// kernel is an unpacked kernel package.
type kernel struct {
	image, modules string
}

// fetchKernel returns the kernel that Debian's linux-image-cloud-amd64 depends on. It downloads and
// unpacks it unless cache has it.
func fetchKernel(ctx context.Context, cache string) (kernel, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return kernel{}, err
	}
	unpacked := filepath.Join(cache, "kernel")
	if k, err := findKernel(unpacked); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, err
	}
	out, err := output(ctx, cache, "apt-cache", "depends", "linux-image-cloud-amd64")
	if err != nil {
		return kernel{}, fmt.Errorf("%w (the guest's kernel is a Debian package)", err)
	}
	_, rest, ok := strings.Cut(out, "Depends: ")
	name := strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
	if !ok || name == "" {
		return kernel{}, errors.New("apt-cache does not find linux-image-cloud-amd64: run apt-get update")
	}
	if _, err := output(ctx, cache, "apt-get", "--option", "Acquire::Retries=3", "download", name); err != nil {
		return kernel{}, err
	}
	packages, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(packages) == 0 {
		return kernel{}, fmt.Errorf("no package of %s was downloaded", name)
	}
	fresh := unpacked + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return kernel{}, err
	}
	if _, err := output(ctx, cache, "dpkg", "-x", packages[0], fresh); err != nil {
		return kernel{}, err
	}
	k, err := findKernel(fresh)
	if err != nil {
		return kernel{}, err
	}
	if _, err := output(ctx, cache, "depmod", "-b", fresh, filepath.Base(k.modules)); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(fresh, unpacked); err != nil {
		return kernel{}, err
	}
	return findKernel(unpacked)
}

func findKernel(dir string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("no kernel in %s", dir)
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return kernel{images[0], filepath.Join(dir, "lib/modules", version)}, nil
}

// moduleFiles returns the files of the modules and their dependencies, in the order for insmod.
func (k kernel) moduleFiles() ([]string, error) {
	f, err := os.Open(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var files []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		file, needs, _ := strings.Cut(lines.Text(), ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if !slices.Contains(modules, name) {
			continue
		}
		fields := strings.Fields(needs)
		slices.Reverse(fields) // modules.dep lists the first to load last
		for _, path := range append(fields, file) {
			if !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
	}
	return files, nil
}

// output runs a program in dir and returns its output.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, exit.Stderr)
	} else if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w (make deps installs it)", err)
	}
	return string(out), err
}
