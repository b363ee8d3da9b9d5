// Package layers replaces the overlay that an engine has mounted for a container by one of the same
// layers with mapped ids. The lower layers are idmapped, which changes nothing on the disk (Linux
// 5.19). The files of the upper layer, which only this container has, are shifted on the disk: an
// overlay with an idmapped upper layer is read-only.
//
// Reading order: overlay (parses the mount), replace, inuse.
package layers

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/idmount"
)

// Overlay is a mounted overlay.
type Overlay struct {
	// Upper is the upper layer, "" if there is none or its path is unknown.
	Upper string

	point  string // where it is mounted
	source string
	flags  uintptr
	// options are those of mount(2), relative to the directory base.
	options, base string
	lower         []string
	work          string
	isVolatile    bool
	// unsupported is the reason why it cannot be replaced, nil if it can.
	unsupported error
}

// Find returns the overlay that is mounted on the directory root, nil if there is none.
func Find(root string) (*Overlay, error) {
	dir, err := sys.OpenDirNoFollow(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return FindAt(dir)
}

// FindAt is like Find for an open directory.
func FindAt(dir sys.File) (*Overlay, error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	host, err := os.Readlink(dir.Path())
	if err != nil {
		return nil, err
	}
	m, err := idmount.MountOf(dir, table)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	if m.FSType != "overlay" || m.Root != "/" || m.Mountpoint != host {
		return nil, nil
	}
	o, err := parse(m)
	if o.Upper != "" {
		if upperErr := o.checkUpper(dir); upperErr != nil {
			o.Upper, err = "", upperErr
		}
	}
	if err != nil {
		o.unsupported = fmt.Errorf("%w: %w", idmount.ErrUnsupported, err)
	}
	return o, nil
}

// Unsupported returns the reason why Replace will fail, nil if it may succeed.
func (o *Overlay) Unsupported() error { return o.unsupported }

// checkUpper fails if the path of the upper layer leads elsewhere, as in another mount namespace than
// that in which the overlay was made. The overlay's root directory shows the times of the upper
// layer.
func (o *Overlay) checkUpper(root sys.File) error {
	merged, err := root.Statx()
	if err != nil {
		return err
	}
	upper, err := sys.Stat(o.Upper)
	if err == nil && (!upper.IsDir() || upper.Changed != merged.Changed || upper.UID != merged.UID ||
		upper.GID != merged.GID || upper.Mode != merged.Mode) {
		err = errors.New("it is another directory in this mount namespace")
	}
	if err != nil {
		return fmt.Errorf("upper layer %s: %w", o.Upper, err)
	}
	return nil
}

// keptOptions are the options that the new overlay has as well.
var keptOptions = []string{"index=off", "nfs_export=off", "xino=off", "xino=auto", "xino=on",
	"redirect_dir=off", "redirect_dir=on", "redirect_dir=follow", "redirect_dir=nofollow",
	"metacopy=off", "metacopy=on", "uuid=off", "uuid=null", "uuid=auto", "uuid=on", "verity=off",
	"userxattr", "volatile",
	"fsync=volatile", "fsync=auto", "fsync=strict"}

// statusOptions are shown in the mount table, but are no options of mount(2).
var statusOptions = []string{"rw", "seclabel"}

var mountFlags = map[string]uintptr{"rw": 0, "nosuid": sys.MountNoSuid, "nodev": sys.MountNoDev,
	"noexec": sys.MountNoExec, "noatime": sys.MountNoAtime, "nodiratime": sys.MountNoDirAtime,
	"relatime": sys.MountRelAtime}

// parse also returns an overlay that cannot be replaced, with the error.
func parse(m *mountinfo.Info) (*Overlay, error) {
	o := &Overlay{point: m.Mountpoint, source: m.Source}
	if err := o.parseLayers(m.VFSOptions); err != nil {
		return o, err
	}
	for option := range strings.SplitSeq(m.Options, ",") {
		flag, ok := mountFlags[option]
		if !ok {
			return o, fmt.Errorf("mount option %q of the overlay is unsupported, want %s", option,
				strings.Join(slices.Sorted(maps.Keys(mountFlags)), ", "))
		}
		o.flags |= flag
	}
	var options []string
	for option := range strings.SplitSeq(m.VFSOptions, ",") {
		key, _, _ := strings.Cut(option, "=")
		switch {
		case slices.Contains(statusOptions, option), slices.Contains(layerOptions, key):
		case slices.Contains(keptOptions, option):
			options = append(options, option)
			o.isVolatile = o.isVolatile || strings.HasSuffix(option, "volatile")
		default:
			return o, fmt.Errorf("option %q of the overlay is unsupported", option)
		}
	}
	o.options = strings.Join(append(options, o.options), ",")
	// mount(2) takes one page, including a zero byte.
	if limit := os.Getpagesize() - 1; len(o.options) > limit {
		return o, fmt.Errorf("options of %d bytes, more than %d", len(o.options), limit)
	}
	return o, nil
}

// layerOptions are the keys of options that name the layers.
var layerOptions = []string{"lowerdir", "lowerdir+", "upperdir", "workdir"}

func (o *Overlay) parseLayers(options string) error {
	o.lower = idmount.OptionPaths(options, "lowerdir")
	upper, work := idmount.OptionPaths(options, "upperdir"), idmount.OptionPaths(options, "workdir")
	if len(upper) == 1 && filepath.IsAbs(upper[0]) {
		o.Upper = upper[0]
	}
	if len(o.lower) == 0 || len(upper) != 1 || len(work) != 1 {
		return fmt.Errorf("%d lower, %d upper and %d work directories, want an upper and a lower layer",
			len(o.lower), len(upper), len(work))
	}
	if slices.Contains(o.lower, "") {
		return errors.New("data-only layers are not supported")
	}
	if bad := upper[0] + work[0]; strings.ContainsAny(bad, `\:,`) {
		return fmt.Errorf("%s or %s contains a backslash, colon or comma", upper[0], work[0])
	}
	if err := o.findBase(append(slices.Clone(o.lower), upper[0], work[0])); err != nil {
		return err
	}
	var escaped []string
	for _, l := range o.lower {
		escaped = append(escaped, escapeLayer.Replace(l))
	}
	o.options = "lowerdir=" + strings.Join(escaped, ":") + ",upperdir=" + upper[0] + ",workdir=" +
		work[0]
	o.Upper, o.work = o.path(upper[0]), o.path(work[0])
	return nil
}

// escapeLayer escapes characters in a path of the option lowerdir.
var escapeLayer = strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)

func (o *Overlay) path(layer string) string {
	if filepath.IsAbs(layer) {
		return layer
	}
	return filepath.Join(o.base, layer)
}

// findBase sets the directory to which relative paths refer. The mount table does not have it.
// Engines use the directory that holds those of the layers, in which the overlay is mounted, too
// (Docker, Podman), or only its upper layer is (containerd).
func (o *Overlay) findBase(layers []string) error {
	isRelative := func(layer string) bool { return !filepath.IsAbs(layer) }
	first := slices.IndexFunc(layers, isRelative)
	if first < 0 {
		o.base = "/"
		return nil
	}
	candidates := []string{filepath.Dir(filepath.Dir(o.point))}
	for _, layer := range layers {
		if !isRelative(layer) {
			candidates = append(candidates, filepath.Dir(filepath.Dir(layer)))
		}
	}
	slices.Sort(candidates)
	candidates = slices.DeleteFunc(slices.Compact(candidates), func(base string) bool {
		return slices.ContainsFunc(layers, func(layer string) bool {
			info, err := os.Stat(filepath.Join(base, layer))
			return isRelative(layer) && (err != nil || !info.IsDir())
		})
	})
	if len(candidates) != 1 {
		return fmt.Errorf("relative path %s of a layer is in none or several of the directories of "+
			"other layers", layers[first])
	}
	o.base = candidates[0]
	return nil
}
