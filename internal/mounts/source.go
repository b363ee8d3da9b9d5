package mounts

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"palisade/internal/sys"
)

// Source is the files of a running lxcfs that are to be put into containers.
type Source struct {
	mountpoint string
	device     sys.DeviceNumber
	files      []sourceFile
	// classic tells that the kernel has no mounts that are descriptors (before Linux 5.2).
	classic bool
	// restrictLater tells that a mount can be made nosuid only when it is attached (before Linux 5.12).
	restrictLater bool
}

// sourceFile is one file: its path below the mount point, and a hold of it.
type sourceFile struct {
	path string
	file sys.File
}

// OpenSource gets a hold of files of the lxcfs that is mounted on mountpoint with the device. It asks the file system,
// which has to be in health, and waits for an answer no longer than ctx goes.
func OpenSource(ctx context.Context, mountpoint string, device sys.DeviceNumber, files []string) (*Source, error) {
	return sys.Within(ctx, func() (*Source, error) { return openSource(mountpoint, device, files) }, (*Source).Close)
}

func openSource(mountpoint string, device sys.DeviceNumber, files []string) (*Source, error) {
	s := &Source{mountpoint: mountpoint, device: device}
	for _, path := range files {
		f, err := sys.OpenPath(filepath.Join(mountpoint, path))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.files = append(s.files, sourceFile{path, f})
	}
	if len(s.files) == 0 {
		return nil, fmt.Errorf("%s serves no file", mountpoint)
	}
	if err := s.probeKernel(); err != nil {
		s.Close()
		return nil, fmt.Errorf("clone the mount %s: %w", mountpoint, err)
	}
	return s, nil
}

// probeKernel finds out in which way this kernel mounts.
func (s *Source) probeKernel() error {
	clone, err := s.files[0].file.CloneMount()
	if errors.Is(err, syscall.ENOSYS) {
		s.classic, s.restrictLater = true, true
		return nil
	} else if err != nil {
		return err
	}
	defer clone.Close()
	if err = clone.RestrictMount(); errors.Is(err, syscall.ENOSYS) {
		s.restrictLater = true
		return nil
	}
	return err
}

// Close lets go of the files.
func (s *Source) Close() {
	for i := range s.files {
		s.files[i].file.Close()
	}
}

// cloneFor gives each target a detached mount of its file, to be attached in another namespace: this can be done in the
// source's own alone.
func (s *Source) cloneFor(targets []target) error {
	if s.classic {
		return nil
	}
	for i := range targets {
		t := &targets[i]
		var err error
		if t.tree, err = s.files[s.index(t.path)].file.CloneMount(); err != nil {
			return err
		}
		if s.restrictLater {
			continue
		}
		if err := t.tree.RestrictMount(); err != nil {
			return err
		}
	}
	return nil
}

func closeTrees(targets []target) {
	for i := range targets {
		targets[i].tree.Close()
	}
}

// paths are the files below the mount point.
func (s *Source) paths() []string {
	paths := make([]string, len(s.files))
	for i, f := range s.files {
		paths[i] = f.path
	}
	return paths
}

// index is where the file at path is among the files; it has to be one of them.
func (s *Source) index(path string) int {
	return slices.IndexFunc(s.files, func(f sourceFile) bool { return f.path == path })
}
