package idmount

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
)

type location struct {
	inode sys.Inode
	mount *mountinfo.Info
	// host is the path in this mount namespace, without symbolic links; inner is the path within the
	// file system.
	host, inner string
	// behind holds, for each view, the directory after the last closed one. A process that holds that
	// can reach the location.
	behind []string
}

func locate(dir sys.File, table []*mountinfo.Info) (location, error) {
	host, err := os.Readlink(dir.Path())
	if err != nil {
		return location{}, err
	}
	inode, err := dir.Statx()
	if err != nil {
		return location{}, err
	}
	m, err := MountOf(dir, table)
	if err != nil {
		return location{}, fmt.Errorf("%s: %w", host, err)
	}
	rest, ok := cutDir(host, m.Mountpoint)
	if !ok {
		return location{}, fmt.Errorf("%s is not below its mount point %s", host, m.Mountpoint)
	}
	return location{inode: inode, mount: m, host: host, inner: path.Join(m.Root, rest)}, nil
}

// MountOf returns the mount of an open file, which must be in the table.
func MountOf(f sys.File, table []*mountinfo.Info) (*mountinfo.Info, error) {
	id, err := f.MountID()
	if err != nil {
		return nil, err
	}
	if m := mountByID(table, id); m != nil {
		return m, nil
	}
	return nil, errors.New("mount is in another mount namespace")
}

// mountByID returns nil if the table has no such mount.
func mountByID(table []*mountinfo.Info, id int) *mountinfo.Info {
	i := slices.IndexFunc(table, func(m *mountinfo.Info) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return table[i]
}

// cutDir returns the part of path below dir. It reports whether path is dir or below it.
func cutDir(path, dir string) (rest string, ok bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// view is a path in this mount namespace to a directory, or to a part of it.
type view struct {
	mount *mountinfo.Info
	path  string
	// isPart reports that path leads to a part of the directory.
	isPart bool
}

// views returns the paths through all mounts of the file system, and through overlays that have the
// directory, or a directory above or below it, as a layer.
func (at *location) views(table []*mountinfo.Info) (views []view) {
	known := make(map[string]bool) // layers, which overlays share
	var isLayer func(string) bool
	isLayer = func(layer string) bool {
		overlaps, ok := known[layer]
		if !ok {
			known[layer] = false // an overlay of overlays ends somewhere
			overlaps = at.overlaps(layer, table, isLayer)
			known[layer] = overlaps
		}
		return overlaps
	}
	for _, m := range table {
		if at.isOn(m) {
			if rest, ok := cutDir(at.inner, m.Root); ok {
				views = append(views, view{m, path.Join(m.Mountpoint, rest), false})
			} else if _, ok := cutDir(m.Root, at.inner); ok {
				views = append(views, view{m, m.Mountpoint, true})
			}
		} else if m.FSType == "overlay" && slices.ContainsFunc(OverlayLayers(m), isLayer) {
			views = append(views, view{m, m.Mountpoint, true})
		}
	}
	return views
}

func (at *location) isOn(m *mountinfo.Info) bool {
	return m.Major == at.mount.Major && m.Minor == at.mount.Minor
}

// overlaps reports whether one of two directories is, or is in, the other, or has a layer of it.
// One that is missing, as where an overlay was made in another mount namespace, overlaps nothing.
func (at *location) overlaps(
	other string, table []*mountinfo.Info, isLayer func(string) bool,
) bool {
	dir, err := sys.OpenDir(other)
	if err != nil {
		return false
	}
	defer dir.Close()
	o, err := locate(dir, table)
	if err != nil {
		return false
	}
	if !at.isOn(o.mount) {
		return o.mount.FSType == "overlay" && slices.ContainsFunc(OverlayLayers(o.mount), isLayer)
	}
	_, above := cutDir(at.inner, o.inner)
	_, below := cutDir(o.inner, at.inner)
	return above || below
}

// isCovered reports whether another mount hides a view.
func (v view) isCovered(table []*mountinfo.Info) bool {
	var child *mountinfo.Info
	for m, at := v.mount, v.path; ; {
		var parent *mountinfo.Info
		for _, other := range table {
			if other.ID == m.Parent && other != m {
				parent = other
			}
			if other == child || other == m || other.Parent != m.ID {
				continue
			}
			if _, ok := cutDir(at, other.Mountpoint); ok {
				return true
			}
		}
		if parent == nil {
			return false
		}
		child, m, at = m, parent, m.Mountpoint
	}
}

// MountsOf returns the mounts in the mount namespace of the process with this directory in /proc.
func MountsOf(process string) ([]*mountinfo.Info, error) {
	f, err := os.Open(process + "/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(f, nil)
}

// HasOption reports whether options of a mount, separated by commas, contain one.
func HasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

func isMapped(m *mountinfo.Info) bool { return HasOption(m.Options, "idmapped") }

// sameNamespace reports whether a process is in the same namespace as this one, and returns the
// inode number of the namespace.
func sameNamespace(process, kind string) (isSame bool, inode uint64, err error) {
	theirs, err := sys.Stat(process + "/ns/" + kind)
	if err != nil {
		return false, 0, err
	}
	ours, err := sys.Stat("/proc/self/ns/" + kind)
	return theirs.Number == ours.Number, theirs.Number, err
}

// OverlayLayers returns the directories of an overlay's layers that its options name by absolute
// paths. Symbolic links in the paths are resolved.
func OverlayLayers(overlay *mountinfo.Info) (paths []string) {
	for _, p := range OptionPaths(overlay.VFSOptions, "lowerdir", "upperdir", "workdir") {
		if resolved, err := filepath.EvalSymlinks(p); err == nil && filepath.IsAbs(p) {
			paths = append(paths, resolved)
		}
	}
	return paths
}

// OptionPaths returns the paths in the options with the keys. A lowerdir has several, separated by
// colons; in all options the kernel writes blanks, commas and backslashes in octal.
func OptionPaths(options string, keys ...string) (paths []string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if !slices.Contains(keys, strings.TrimSuffix(key, "+")) {
			continue
		}
		value = octalEscapes.Replace(value)
		if key == "lowerdir" {
			paths = append(paths, splitLayers(value)...)
		} else {
			paths = append(paths, value)
		}
	}
	return paths
}

// octalEscapes are those that the kernel uses in options of mounts (seq_show_option, mangle).
var octalEscapes = strings.NewReplacer(`\011`, "\t", `\012`, "\n", `\040`, " ", `\043`, "#",
	`\054`, ",", `\072`, ":", `\075`, "=", `\134`, `\`)

// splitLayers splits the value of lowerdir, in which a backslash stands before a colon or comma
// that is part of a path.
func splitLayers(value string) (paths []string) {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		case c == ':':
			paths = append(paths, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(paths, b.String())
}
