package mounts

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"palisade/internal/linux/sys"
)

// Source is a running lxcfs whose files are mounted in containers.
type Source struct {
	mountpoint string
	device     sys.DeviceNumber
	paths      []string
	root       sys.File
	// Shared is nil if each container gets a private tree; otherwise it is the reason why
	// containers get the files of the shared tree.
	Shared error
	// classic is set if the kernel has no detached mounts (before Linux 5.2).
	classic bool
	// restrictLater is set if only an attached mount can be made nosuid (before Linux 5.12).
	restrictLater bool

	mu sync.Mutex
	// first holds the files for the first call of takeFiles.
	first servedFiles
}

// servedFiles holds the files of one tree of an lxcfs, by path.
type servedFiles map[string]sys.File

func (files servedFiles) close() {
	for _, f := range files {
		f.Close()
	}
}

// OpenSource opens files of the healthy lxcfs that is mounted on mountpoint with the device. It
// accesses the file system, and waits for it at most until ctx is done.
func OpenSource(
	ctx context.Context, mountpoint string, device sys.DeviceNumber, files []string,
) (*Source, error) {
	open := func() (*Source, error) { return openSource(mountpoint, device, files) }
	return sys.Within(ctx, open, (*Source).Close)
}

func openSource(mountpoint string, device sys.DeviceNumber, paths []string) (*Source, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s serves no file", mountpoint)
	}
	root, err := sys.OpenDir(mountpoint)
	if err != nil {
		return nil, err
	}
	s := &Source{mountpoint: mountpoint, device: device, paths: paths, root: root}
	clone, err := root.CloneMount()
	s.classic = errors.Is(err, syscall.ENOSYS)
	if err == nil {
		err = clone.RestrictMount()
		clone.Close()
	}
	if s.restrictLater = errors.Is(err, syscall.ENOSYS); s.restrictLater || err == nil {
		s.first, s.Shared, err = s.openFiles()
	} else {
		err = fmt.Errorf("clone the mount %s: %w", mountpoint, err)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// openFiles opens all files in a new private tree, or in the shared tree if there are no private
// ones; then shared is the reason.
func (s *Source) openFiles() (files servedFiles, shared, err error) {
	tree, shared, err := OpenTree(s.root, newPrivateTree())
	if err != nil {
		return nil, nil, err
	}
	defer tree.Close()
	if s.classic {
		shared = ErrClassic
	}
	files, dirs := make(servedFiles), make(servedFiles)
	defer dirs.close()
	for _, file := range s.paths {
		dir := path.Dir(file)
		d, ok := dirs[dir]
		if !ok { // opened once: each lookup in a private tree is a request to the server
			if d, err = tree.OpenDirBelow(dir); err != nil {
				break
			}
			dirs[dir] = d
		}
		if files[file], err = d.OpenPathAt(path.Base(file)); err != nil {
			break
		}
	}
	if err != nil {
		files.close()
		return nil, nil, err
	}
	return files, shared, nil
}

const openTimeout = 2 * time.Second

// takeFiles returns files for one container, for the caller to close.
func (s *Source) takeFiles() (servedFiles, error) {
	s.mu.Lock()
	files := s.first
	s.first = nil
	s.mu.Unlock()
	if files != nil {
		return files, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return sys.Within(ctx, func() (servedFiles, error) {
		files, _, err := s.openFiles()
		return files, err
	}, servedFiles.close)
}

// Close closes the files.
func (s *Source) Close() {
	s.root.Close()
	s.first.close()
}

// Device returns the device of the mounted file system.
func (s *Source) Device() sys.DeviceNumber { return s.device }

// BindOn mounts the whole lxcfs on the directory target, in the caller's mount namespace.
func (s *Source) BindOn(target sys.File) error {
	if s.classic {
		return s.root.BindOn(target)
	}
	clone, err := s.root.CloneMount()
	if err != nil {
		return err
	}
	defer clone.Close()
	return clone.MoveMount(target, false)
}

// cloneFor sets the tree of each target, a detached mount of its file. Only in the caller's mount
// namespace it can be cloned.
func (s *Source) cloneFor(targets []target) error {
	if s.classic {
		return nil
	}
	files, err := s.takeFiles()
	if err != nil {
		return err
	}
	defer files.close()
	for i := range targets {
		t := &targets[i]
		if t.tree, err = files[t.path].CloneMount(); err != nil {
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

// isShownBy reports whether m is a mount of the file path, in a private tree unless the source has
// none.
func (s *Source) isShownBy(m *Mount, path string) bool {
	if m == nil || m.FSType != FSType || Device(m) != s.device {
		return false
	}
	file := strings.TrimPrefix(m.Root, "/")
	inTree, private := strings.CutPrefix(file, PrivateDir+"/")
	if private {
		_, file, _ = strings.Cut(inTree, "/")
	}
	return file == path && (private || s.Shared != nil)
}
