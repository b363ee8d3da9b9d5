package idmount

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

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
	if err := checkPaths([]*Private{p})[0]; err != nil {
		return nil, err
	}
	for _, upper := range OptionPaths(p.at.mount.VFSOptions, "upperdir") { // of an overlay
		if !filepath.IsAbs(upper) {
			return nil, fmt.Errorf("upper layer of %s: relative path %s", p.at.host, upper)
		}
		upper, err := filepath.EvalSymlinks(upper)
		if err == nil {
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

// checkPaths checks all paths that lead to the files, which may also be others than directories,
// and the processes in them. It returns an error or nil for each file.
func checkPaths(files []*Private) (errs []error) {
	for attempt := 1; ; attempt++ {
		errs = checkPathsOnce(files, attempt == maxAttempts)
		isMoved := func(err error) bool { return errors.Is(err, errMoved) }
		if !slices.ContainsFunc(errs, isMoved) {
			return errs
		}
	}
}

func checkPathsOnce(files []*Private, isLast bool) []error {
	errs := make([]error, len(files))
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		err = fmt.Errorf("read the mount table: %w", err)
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	var closed []*location
	for i, p := range files {
		if p.at, errs[i] = locate(p.dir, table); errs[i] != nil {
			continue
		}
		if errs[i] = p.at.checkViews("/", table, isLast); errs[i] == nil {
			errs[i] = p.at.checkInitViews(isLast)
		}
		if errs[i] == nil {
			closed = append(closed, &p.at)
		}
	}
	found, err := findProcesses(closed, table)
	for i, p := range files {
		if errs[i] == nil {
			errs[i] = err
		}
		if e, ok := found[&p.at]; ok {
			errs[i] = e
		}
	}
	return errs
}
