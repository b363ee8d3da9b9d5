package idmount

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
)

// Private is an open directory that users of the host other than root cannot reach by any known
// path: on each path, a directory belongs to root and only root may search it, or the mount is
// nosuid. The directory itself does not count, since its container can change it. Only a private
// directory may be idmapped, because files that a container's root writes through an idmapped mount
// belong to the host's root on the disk.
type Private struct {
	dir sys.File
	at  location
}

// LinkCheck fails if files of the open directory have names outside of it.
type LinkCheck func(dir sys.File) error

// OpenPrivate opens the directory at path. It fails with a ReachableError if the directory is not
// private, or if a process of another user is in it, which no closed directory stops. It checks the
// paths in this process's mount namespace and in that of process 1: through all mounts of the file
// system, through overlays that have the directory as a layer, and to the upper layer if it is on
// an overlay itself. check covers paths to single files.
func OpenPrivate(path string, check LinkCheck) (*Private, error) {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return nil, err
	}
	p, err := newPrivate(dir, check)
	if err != nil {
		dir.Close()
	}
	return p, err
}

// IgnoreLinks is a LinkCheck that never fails.
func IgnoreLinks(sys.File) error { return nil }

// CheckPrivate fails as OpenPrivate does.
func CheckPrivate(path string, check LinkCheck) error {
	p, err := OpenPrivate(path, check)
	if err != nil {
		return err
	}
	return p.Close()
}

// Close closes the directory.
func (p *Private) Close() error { return p.dir.Close() }

// newPrivate checks the open directory. The result takes ownership of dir; on failure the caller
// keeps it.
func newPrivate(dir sys.File, check LinkCheck) (*Private, error) {
	p := &Private{dir: dir}
	err := p.check()
	if err != nil {
		return nil, err
	}
	for _, upper := range OptionPaths(p.at.mount.VFSOptions, "upperdir") { // of an overlay
		if !filepath.IsAbs(upper) {
			return nil, fmt.Errorf("upper layer of %s: relative path %s", p.at.host, upper)
		}
		if upper, err = filepath.EvalSymlinks(upper); err == nil {
			err = CheckPrivate(upper, IgnoreLinks)
		}
		if err != nil {
			return nil, fmt.Errorf("upper layer of %s: %w", p.at.host, err)
		}
	}
	return p, check(dir)
}

// maxAttempts limits the checks while other users move directories above the paths.
const maxAttempts = 3

// check checks all paths that lead to the directory, and the processes in it.
func (p *Private) check() error {
	for attempt := 1; ; attempt++ {
		table, err := mountinfo.GetMounts(nil)
		if err != nil {
			return fmt.Errorf("read the mount table: %w", err)
		}
		if p.at, err = locate(p.dir, table); err != nil {
			return err
		}
		err = p.at.checkViews("/", table, attempt == maxAttempts)
		if err == nil {
			err = p.at.checkInitViews(attempt == maxAttempts)
		}
		if err == nil {
			err = p.at.checkProcesses(table)
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}
