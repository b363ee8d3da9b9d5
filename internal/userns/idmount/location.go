package idmount

import (
	"fmt"
	"os"
	"path"
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
	id, err := dir.MountID()
	if err != nil {
		return location{}, err
	}
	i := slices.IndexFunc(table, func(m *mountinfo.Info) bool { return m.ID == id })
	if i < 0 {
		return location{}, fmt.Errorf("%s is on a mount of another mount namespace", host)
	}
	rest, ok := cutDir(host, table[i].Mountpoint)
	if !ok {
		return location{}, fmt.Errorf("%s is not below its mount point %s", host, table[i].Mountpoint)
	}
	return location{mount: table[i], host: host, inner: path.Join(table[i].Root, rest)}, nil
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

func sameInode(a, b *sys.Inode) bool {
	return a.Number == b.Number && a.FileSystem == b.FileSystem
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

func mountsOf(process string) ([]*mountinfo.Info, error) {
	f, err := os.Open(process + "/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(f, nil)
}

func hasOption(m *mountinfo.Info, name string) bool {
	return slices.Contains(strings.Split(m.Options, ","), name)
}

func isMapped(m *mountinfo.Info) bool { return hasOption(m, "idmapped") }

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
