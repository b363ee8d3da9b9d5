package idmount

import (
	"path/filepath"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
)

// UpperDir returns the directory on the disk that holds the changed files of the open directory at
// path, if that is the root directory of an overlay whose options name it by an absolute path; else
// "".
func UpperDir(dir sys.File, path string) (string, error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return "", err
	}
	m, err := MountOf(dir, table)
	if err != nil || m.FSType != "overlay" || m.Root != "/" || m.Mountpoint != path {
		return "", err
	}
	for _, upper := range OptionPaths(m.VFSOptions, "upperdir") {
		if filepath.IsAbs(upper) {
			return upper, nil
		}
	}
	return "", nil
}
