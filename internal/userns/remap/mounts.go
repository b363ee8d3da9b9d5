package remap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/layers"
	"palisade/internal/userns/shift"
)

// mounts are the root file system and the bind mounts of a container whose ids are mapped.
type mounts struct {
	r      *Remapper
	config *oci.Config
	pair   idmap.Pair
	// root is the path of the root file system. If isRootMapped is set, rootMount is a detached mount
	// of it; else rootErr may say why there is none.
	root         string
	isRootMapped bool
	rootMount    idmount.MappedVolume
	rootErr      error
	// overlay is the root file system if its layers are to get mapped ids.
	overlay    *layers.Overlay
	namespaces idmount.Namespaces
	// mapped are the detached mounts of toMap.
	toMap, toShift []*volume
	mapped         []idmount.MappedVolume
}

func (m *mounts) close() {
	for _, x := range slices.Concat(m.toMap, m.toShift) {
		x.file.Close()
	}
	for _, mount := range append(m.mapped, m.rootMount) {
		mount.Close()
	}
	m.namespaces.Close()
}

// open opens the root file system and the bind mounts, and creates detached mounts of those to be
// idmapped. It changes nothing, and fails with Problems if some bind mounts cannot be mapped.
func (m *mounts) open(ctx context.Context, bundle, id string) error {
	modes, err := m.r.volumeModes(m.config)
	if err != nil {
		return err
	}
	m.createNamespaces(modes)
	if err := m.find(bundle, id, modes); err != nil {
		return err
	}
	sources, err := m.openRoot(ctx)
	if err != nil {
		return err
	}
	for i := range sources {
		defer sources[i].Source.Close() // that of the root file system
	}
	hasRoot := len(sources)
	for _, x := range m.toMap {
		sources = append(sources, x.toMap(m.pair, m.canRemount()))
	}
	mapped, failed := idmount.MapVolumes(sources, &m.namespaces)
	if hasRoot > 0 && len(mapped) > 0 {
		m.rootMount = mapped[0]
	}
	m.mapped = mapped[min(hasRoot, len(mapped)):]
	var problems shift.Problems
	for _, e := range failed {
		if e.Index < hasRoot {
			m.rootErr = e.Err
		} else {
			problems = append(problems, m.toMap[e.Index-hasRoot].problem(e.Err))
		}
	}
	if m.rootErr != nil && (m.r.Mode == IDMap || !idmount.CanShift(m.rootErr)) {
		return m.rootErr
	}
	m.isRootMapped = hasRoot > 0 && m.rootErr == nil
	return m.check(ctx, problems)
}

// createNamespaces creates the namespaces for the modes of the root file system and the volumes. Get
// fails again for those that cannot be created.
func (m *mounts) createNamespaces(modes []VolumeMode) {
	if m.r.Mode == Auto || m.r.Mode == IDMap {
		m.namespaces.Get(m.pair)
	}
	for _, mode := range modes {
		if mode.kind == IDMap {
			m.namespaces.Get(mode.diskPair(m.pair))
		}
	}
}

// openRoot returns the root file system, if the mode wants it idmapped, or sets overlay instead. The
// caller closes the source.
func (m *mounts) openRoot(ctx context.Context) (_ []idmount.Volume, err error) {
	if m.overlay, err = m.r.findLayers(m.root, m.pair); err != nil || m.overlay != nil {
		return nil, err
	}
	wantsIDMap, err := m.r.wantsIDMap(m.root, m.pair)
	if err != nil || !wantsIDMap {
		return nil, err
	}
	dir, err := sys.OpenDirNoFollow(m.root)
	if err != nil {
		return nil, err
	}
	return []idmount.Volume{{Source: dir, Pair: m.pair, Private: true, CanRemount: true,
		CheckLinks: m.r.checkLinks(ctx)}}, nil
}

// check adds the problems of volumes that do not depend on idmapped mounts, and fails with all.
func (m *mounts) check(ctx context.Context, problems shift.Problems) error {
	for _, x := range m.toMap {
		problems = append(problems, x.checkOwner(m.pair)...)
	}
	for _, x := range m.toShift {
		err := m.shift(ctx, x, true)
		if found, ok := errors.AsType[shift.Problems](err); ok {
			problems = append(problems, found...)
		} else if err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// mount mounts the root file system and the volumes, and changes their paths in the configuration.
func (m *mounts) mount(ctx context.Context, id string) error {
	point, err := m.mountRoot(ctx, id)
	if err != nil {
		return err
	}
	return errors.Join(m.config.SetRoot(point), m.mountVolumes(ctx, id))
}

// mountRoot mounts the root file system, idmapped or shifted, at a mount point that the container's
// root can reach whatever is above the original. It returns the mount point.
func (m *mounts) mountRoot(ctx context.Context, id string) (string, error) {
	point, err := m.r.createMountPoint(id, m.pair)
	if err != nil {
		return "", err
	}
	if m.isRootMapped {
		return point, m.rootMount.Attach(point)
	}
	if m.overlay != nil {
		m.rootErr = m.replaceOverlay(ctx, point)
		if m.rootErr == nil {
			return point, idmount.Bind(m.root, point)
		}
		if m.r.Mode == IDMap || !idmount.CanShift(m.rootErr) {
			return "", m.rootErr
		}
	}
	if err := m.r.shiftRoot(ctx, m.root, m.pair); err != nil {
		if reachable, ok := errors.AsType[*idmount.ReachableError](m.rootErr); ok {
			err = fmt.Errorf("%w; to use an idmapped mount instead: %s", err, reachable.Remedy)
		} else if m.overlay != nil {
			err = fmt.Errorf("%w; %w", err, m.rootErr)
		}
		return "", err
	}
	return point, idmount.Bind(m.root, point)
}

// mountVolumes shifts and mounts the bind mounts.
func (m *mounts) mountVolumes(ctx context.Context, id string) error {
	for _, x := range m.toShift {
		if err := m.shift(ctx, x, false); err != nil {
			return err
		}
	}
	for i, x := range m.toMap {
		point := filepath.Join(m.r.RunDir, id, fmt.Sprintf("volume-%d", x.index))
		if err := createPoint(point, x.inode.IsDir()); err != nil {
			return err
		}
		if err := m.mapped[i].Attach(point); err != nil {
			return fmt.Errorf("volume %s: %w", x.mount.Destination, err)
		}
		x.mount.Source = point
		if err := m.config.SetMount(x.index, x.mount); err != nil {
			return err
		}
	}
	return nil
}

func createPoint(point string, isDir bool) error {
	if isDir {
		return os.Mkdir(point, 0o700)
	}
	f, err := os.OpenFile(point, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (r *Remapper) isMounted(path string) bool { return strings.HasPrefix(path, r.RunDir+"/") }

// restoreSources sets the sources of mounts that were changed for another container to the original
// ones.
func (r *Remapper) restoreSources(c, original *oci.Config) error {
	for i, m := range c.Spec.Mounts {
		if !r.isMounted(m.Source) {
			continue
		}
		j := slices.IndexFunc(original.Spec.Mounts, func(o specs.Mount) bool {
			return o.Destination == m.Destination && !r.isMounted(o.Source)
		})
		if j < 0 {
			return fmt.Errorf("it has no mount at %s", m.Destination)
		}
		m.Source = original.Spec.Mounts[j].Source
		if err := c.SetMount(i, m); err != nil {
			return err
		}
	}
	return nil
}
