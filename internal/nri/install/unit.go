package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/rpm"
)

// Unit is the name of the unit that is installed. It differs from that of the package, which would
// be hidden by a unit of its name in /etc.
const Unit = "palisade-lxcfs.service"

// packageUnit is the unit of lxcfs in a package.
const packageUnit = "lxcfs.service"

// unitDirs are the directories for the unit, the preferred one first.
type unitDirs []string

// systemUnits returns the directories of the host. The unit in /etc survives a reboot, so lxcfs is
// started before the container runtime; where it cannot be written, the next agent writes the unit
// again.
func systemUnits() unitDirs { return unitDirs{"/etc/systemd/system", "/run/systemd/system"} }

// unitHeader replaces the comments, most of which are about packages.
const unitHeader = `# Installed by palisade-nri, which replaces and removes this file. Make changes in a drop-in:
# systemctl edit ` + Unit + `
`

// unitText returns the unit for the programs in the directory programs: that of the package without
// what the agent does by its rules, which is to mount files in containers.
func unitText(programs string) string {
	text := []byte(unitHeader)
	for line := range strings.Lines(rpm.LxcfsService) {
		isOmitted := strings.HasPrefix(line, "#") || strings.HasPrefix(line, "Documentation=") ||
			strings.Contains(line, " remount --all")
		if !isOmitted {
			text = append(text, line...)
		}
	}
	return strings.NewReplacer("/usr/bin/", programs+"/", "/run/lxcfs.pid", "/run/palisade-lxcfs.pid").
		Replace(string(text))
}

// write writes the unit where it can be written, and reports whether it has changed and is
// there only until a reboot.
func (u unitDirs) write(text string) (changed, isVolatile bool, err error) {
	for i, dir := range u {
		path := filepath.Join(dir, Unit)
		isVolatile = i > 0
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			return false, isVolatile, nil
		}
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = replaceSynced(path, text)
		}
		if !errors.Is(err, syscall.EROFS) {
			return true, isVolatile, err
		}
	}
	return true, isVolatile, err
}

// replaceSynced replaces the file at path.
func replaceSynced(path, text string) error {
	incomplete := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+newSuffix)
	if err := writeSynced(incomplete, []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.Rename(incomplete, path); err != nil {
		return err
	}
	return sys.SyncDir(filepath.Dir(path))
}

// remove removes the unit.
func (u unitDirs) remove() error {
	var errs []error
	for _, dir := range u {
		for _, name := range []string{Unit, "." + Unit + newSuffix} {
			if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// exists reports whether the unit is installed.
func (u unitDirs) exists() bool {
	for _, dir := range u {
		if _, err := os.Lstat(filepath.Join(dir, Unit)); err == nil {
			return true
		}
	}
	return false
}
