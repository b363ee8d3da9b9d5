package doctor

import (
	"cmp"
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

	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
	"palisade/internal/oci"
)

// World is the host that is checked.
type World struct {
	// Root is the root of the host: "/", or in tests a directory with files of /etc, /proc and /sys.
	Root string
	// Owner is the required owner of programs that root runs: 0 except in tests.
	Owner uint32
	// Mountpoint is the mount point of lxcfs, PolicyFile the policy file of authz-broker.
	Mountpoint, PolicyFile string
	// Options are the global options of lxcfs-toolkit, for commands in remedies.
	Options []string
	// Engines are the engines to check. If it is empty, all installed ones are checked.
	Engines []string

	// Probe probes the lxcfs on a mount point, List lists the running containers. Neither waits for a
	// file system that does not answer.
	Probe func(ctx context.Context, mountpoint string) (probe.Result, error)
	List  func(ctx context.Context) (toolkit.List, error)
	// Ask returns the output of a program of the host with --version or --help.
	Ask func(ctx context.Context, program, option string) (string, error)
	// DockerVersion returns the version of the daemon at the socket.
	DockerVersion func(ctx context.Context, socket string) (string, error)

	// In tests, limit bounds the time of each check, and kernel replaces the probe for a finding.
	limit  time.Duration
	kernel func(id string) error

	probed  sync.Once
	servers servers
}

const (
	// maxConfig bounds a configuration file, maxProc a file of /proc, in bytes.
	maxConfig = 1 << 20
	maxProc   = 64 << 20
	// maxFiles bounds the number of files that are read in a directory.
	maxFiles = 500
)

func (w *World) path(file string) string { return filepath.Join(w.Root, file) }

// read reads a regular file of the host. Errors lack the name of the file.
func (w *World) read(file string, limit int64) ([]byte, error) {
	text, err := sys.ReadRegular(w.path(file), limit)
	return text, bare(err)
}

// bare removes the name of the file from an error: it is the subject of the finding.
func bare(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// exists reports whether a file of the host exists. A link in a loop exists, a dangling one does
// not.
func (w *World) exists(file string) bool {
	_, err := os.Stat(w.path(file))
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// link returns the target of a symbolic link, or "".
func (w *World) link(file string) string {
	target, _ := os.Readlink(w.path(file))
	return target
}

// files returns the sorted paths of the files of a directory with the suffix, none if it does not
// exist.
func (w *World) files(dir, suffix string) (files []string) {
	open, err := os.Open(w.path(dir))
	if err != nil {
		return nil
	}
	defer open.Close()
	names, _ := open.Readdirnames(10 * maxFiles)
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, suffix) && len(files) < maxFiles {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files
}

var programDirs = []string{
	"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin",
}

// program returns the path of a program that exists on the host, or "".
func (w *World) program(name string) string {
	for _, dir := range programDirs {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(w.path(file)); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// checkProgram returns an error if an engine cannot run the program as root.
func (w *World) checkProgram(file string) error {
	if !filepath.IsAbs(file) {
		return errors.New("the path is not absolute")
	}
	if err := bare(oci.CheckProgram(w.path(file), w.Owner)); err != nil {
		return errors.New(w.unrooted(err))
	}
	return nil
}

// unrooted returns the text of an error, without the directory that stands for the root.
func (w *World) unrooted(err error) string {
	return strings.ReplaceAll(err.Error(), strings.TrimSuffix(w.Root, "/"), "")
}

// unitDirs are the directories of systemd's units, the first takes precedence.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// systemdDir exists if systemd runs (sd_booted(3)).
const systemdDir = "/run/systemd/system"

// hasUnit reports whether systemd runs and has the unit.
func (w *World) hasUnit(unit string) bool {
	isIn := func(dir string) bool { return w.exists(filepath.Join(dir, unit)) }
	return w.exists(systemdDir) && slices.ContainsFunc(unitDirs, isIn)
}

func (w *World) isEnabled(unit string) bool {
	isIn := func(dir string) bool {
		return w.link(filepath.Join(dir, "multi-user.target.wants", unit)) != ""
	}
	return slices.ContainsFunc(unitDirs[:2], isIn) // those of administrators and programs
}

// toolkit returns a command line of lxcfs-toolkit for root's shell.
func (w *World) toolkit(args ...string) string {
	program := cmp.Or(w.installedToolkit(), toolkitName)
	return quoteAll(slices.Concat([]string{program}, w.Options, args))
}

const toolkitName = "lxcfs-toolkit"

// unitToolkit matches the path of lxcfs-toolkit in the unit that palisade-nri installs.
var unitToolkit = regexp.MustCompile(`(?m)^ExecStartPre=(/\S*/` + toolkitName + `) `)

// installedToolkit returns the path of the lxcfs-toolkit that palisade-nri has installed, or "" if
// there is another one, or none.
func (w *World) installedToolkit() string {
	if w.program(toolkitName) != "" {
		return ""
	}
	for _, dir := range unitDirs {
		text, err := w.read(filepath.Join(dir, installedUnit), maxConfig)
		if m := unitToolkit.FindSubmatch(text); err == nil && m != nil {
			return string(m[1])
		}
	}
	return ""
}

// quoteAll returns the words as a part of a command line for a shell.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// plain matches words that need no quotes in a shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote quotes a word for a shell.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
