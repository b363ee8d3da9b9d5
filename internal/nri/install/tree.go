package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
)

// programs are the programs of a version, which lie beside palisade-nri in its image.
var programs = []string{"lxcfs", "lxcfs-metrics", "lxcfs-toolkit"}

// tree is the directory of a node with the installed versions:
//
//	versions/v1.2-0123456789ab/lxcfs ...
//	current -> versions/v1.2-0123456789ab
//
// A version appears with its last file, and current leads to a whole version, whenever the process
// or the machine ends. The caller excludes other processes.
type tree struct{ dir string }

// Names in a tree. A name with the suffix newSuffix is incomplete.
const (
	versionsDir = "versions"
	currentLink = "current"
	newSuffix   = ".new"
)

func (t tree) versions() string { return filepath.Join(t.dir, versionsDir) }

// current returns the path of a file in the current version.
func (t tree) current(file string) string { return filepath.Join(t.dir, currentLink, file) }

// currentVersion returns the name of the current version, "" if there is none.
func (t tree) currentVersion() string {
	target, err := os.Readlink(filepath.Join(t.dir, currentLink))
	if err != nil || filepath.Dir(target) != versionsDir {
		return ""
	}
	if _, err := os.Stat(filepath.Join(t.dir, target)); err != nil {
		return ""
	}
	return filepath.Base(target)
}

// create creates the directory, and checks that only this user can change what is in it: root
// executes it.
func (t tree) create() error {
	if err := os.MkdirAll(t.versions(), 0o755); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(t.versions())
	if err != nil {
		return err
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		// In a sticky directory, others can neither remove nor replace the directory.
		isShared := info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0
		owner := info.Sys().(*syscall.Stat_t).Uid
		if isShared || owner != 0 && owner != uint32(os.Geteuid()) {
			return fmt.Errorf("install in %s: users other than root can change %s", t.dir, path)
		}
		if path == "/" {
			return nil
		}
	}
}

// add adds the version with these files, unless it is there, and returns its name.
func (t tree) add(version string, files map[string][]byte) (string, error) {
	sum := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%s %d\n", file, len(files[file]))
		sum.Write(files[file])
	}
	name := fileName(version) + "-" + hex.EncodeToString(sum.Sum(nil)[:6])
	path := filepath.Join(t.versions(), name)
	if t.has(path, files) {
		return name, nil
	}
	incomplete := path + newSuffix
	if err := os.RemoveAll(incomplete); err != nil {
		return "", err
	}
	if err := os.Mkdir(incomplete, 0o755); err != nil {
		return "", err
	}
	for file, content := range files {
		if err := writeSynced(filepath.Join(incomplete, file), content, 0o755); err != nil {
			return "", err
		}
	}
	if err := sys.SyncDir(incomplete); err != nil {
		return "", err
	}
	if err := os.RemoveAll(path); err != nil { // it is damaged
		return "", err
	}
	if err := os.Rename(incomplete, path); err != nil {
		return "", err
	}
	return name, sys.SyncDir(t.versions())
}

// has reports whether the version at path has these files.
func (t tree) has(path string, files map[string][]byte) bool {
	for file, content := range files {
		installed, err := os.ReadFile(filepath.Join(path, file))
		if err != nil || !bytes.Equal(installed, content) {
			return false
		}
	}
	return true
}

// switchTo makes a version the current one.
func (t tree) switchTo(name string) error {
	if t.currentVersion() == name {
		return nil
	}
	link := filepath.Join(t.dir, currentLink)
	if err := os.Remove(link + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join(versionsDir, name), link+newSuffix); err != nil {
		return err
	}
	if err := os.Rename(link+newSuffix, link); err != nil {
		return err
	}
	return sys.SyncDir(t.dir)
}

// prune removes all versions but the current one, and what is incomplete. Programs that run keep
// their files.
func (t tree) prune() error {
	entries, err := os.ReadDir(t.versions())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != t.currentVersion() {
			errs = append(errs, os.RemoveAll(filepath.Join(t.versions(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// exists reports whether anything is installed.
func (t tree) exists() bool {
	_, err := os.Lstat(t.versions())
	return err == nil
}

// remove removes all versions, and the directory unless it has other files. The link goes first, so
// that it never leads nowhere.
func (t tree) remove() error {
	link := filepath.Join(t.dir, currentLink)
	for _, path := range []string{link + newSuffix, link, t.versions()} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	err := os.Remove(t.dir)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, syscall.EBUSY) { // a mount point
		return nil
	}
	return err
}

// fileName returns the version as the name of a file: a branch may be in it.
func fileName(version string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z',
			strings.ContainsRune(".-_", r):
			return r
		}
		return '_'
	}, version)
}

// writeSynced writes a file, and syncs it. A file at path, which an earlier process has left, is
// replaced.
func writeSynced(path string, content []byte, mode os.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
