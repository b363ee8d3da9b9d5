package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"palisade/internal/oci"
	"palisade/internal/probe"
	"palisade/internal/sys"
	"palisade/internal/toolkit"
)

// World is the host that is looked at.
type World struct {
	// Root is the folder that stands for the host's root: "/", or in tests one with files of /etc, /proc and /sys.
	Root string
	// Owner is whom programs have to belong to that root runs: 0 but in tests.
	Owner uint32
	// Mountpoint is where lxcfs is mounted, PolicyFile what authz-broker decides by.
	Mountpoint, PolicyFile string
	// Options are the global options of lxcfs-toolkit that remedies need, too.
	Options []string
	// Engines are those that are wanted, all of which there are if it is empty.
	Engines []string

	// Kernel asks the kernel for something that it may not have.
	Kernel func(Feature) error
	// Probe looks at the lxcfs of a mount point, List at the containers that run. Neither waits for a file system that does not answer.
	Probe func(ctx context.Context, mountpoint string) (probe.Result, error)
	List  func(ctx context.Context) (toolkit.List, error)
	// Version asks a program of the host for its version, Help for what --help prints.
	Version, Help func(ctx context.Context, program string) (string, error)
	// DockerVersion asks a daemon at the socket for its version.
	DockerVersion func(ctx context.Context, socket string) (string, error)

	// limit is how long each check may take, in tests.
	limit time.Duration

	probed  sync.Once
	servers *servers
}

const (
	// maxConfig bounds a file of somebody's configuration, maxProc one of the kernel's, in bytes.
	maxConfig = 1 << 20
	maxProc   = 64 << 20
	// maxFiles bounds how many files of a folder are read.
	maxFiles = 500
)

// path is where a file of the host is.
func (w *World) path(file string) string { return filepath.Join(w.Root, file) }

// read reads a regular file of the host. An error says what is wrong, without the name of the file.
func (w *World) read(file string, limit int64) ([]byte, error) {
	text, err := sys.ReadRegular(w.path(file), limit)
	return text, bare(err)
}

// bare is an error without the name of the file, which is the subject of a finding.
func bare(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// exists tells whether a file of the host is there, of any kind, be it a link that leads nowhere but to itself.
func (w *World) exists(file string) bool {
	_, err := os.Stat(w.path(file))
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// link is where a symbolic link leads, "" if it is none.
func (w *World) link(file string) string {
	target, err := os.Readlink(w.path(file))
	if err != nil {
		return ""
	}
	return target
}

// files lists the files of a folder with the suffix, in their order.
func (w *World) files(folder, suffix string) (files []string, err error) {
	dir, err := os.Open(w.path(folder))
	if err != nil {
		return nil, bare(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(10 * maxFiles)
	if err != nil && len(names) == 0 {
		return nil, nil // it is empty
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, suffix) && len(files) < maxFiles {
			files = append(files, filepath.Join(folder, name))
		}
	}
	return files, nil
}

// programFolders are where programs of the host are looked for.
var programFolders = []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"}

// program is the path of one of the host's programs, "" if it is not there.
func (w *World) program(names ...string) string {
	for _, name := range names {
		for _, folder := range programFolders {
			file := filepath.Join(folder, name)
			if info, err := os.Stat(w.path(file)); err == nil && info.Mode().IsRegular() {
				return file
			}
		}
	}
	return ""
}

// checkProgram makes sure that an engine can run a program as root.
func (w *World) checkProgram(file string) error {
	if !filepath.IsAbs(file) {
		return errors.New("the path is not absolute")
	}
	err := bare(oci.CheckProgram(w.path(file), w.Owner))
	if err != nil && w.Root != "/" {
		err = errors.New(strings.ReplaceAll(err.Error(), w.Root, ""))
	}
	return err
}

// unitDirs are where systemd looks for a unit, the first before the others.
var unitDirs = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// hasUnit tells whether systemd runs, and has the unit.
func (w *World) hasUnit(unit string) bool {
	return w.exists("/run/systemd/system") &&
		slices.ContainsFunc(unitDirs, func(dir string) bool { return w.exists(filepath.Join(dir, unit)) })
}

// isEnabled tells whether systemd starts the unit when the machine boots.
func (w *World) isEnabled(unit string) bool {
	return w.link("/etc/systemd/system/multi-user.target.wants/"+unit) != ""
}

// toolkit is a command line of lxcfs-toolkit for root's shell.
func (w *World) toolkit(args ...string) string {
	words := append(append([]string{"lxcfs-toolkit"}, w.Options...), args...)
	for i, word := range words {
		words[i] = quote(word)
	}
	return strings.Join(words, " ")
}

// plain are words that a shell takes as they are.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote makes a text a word for a shell.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
