package remap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/shift"
)

// volume is a bind mount whose ids are mapped.
type volume struct {
	// index is that in the configuration's mounts.
	index int
	mount specs.Mount
	mode  VolumeMode
	file  sys.File
	// inode is from the kernel's cache: the source's file system may not respond.
	inode sys.Inode
	// isOwn reports that the engine has made the source for this container.
	isOwn bool
}

// volumes are the bind mounts of a container whose ids are mapped.
type volumes struct {
	r      *Remapper
	config *oci.Config
	pair   idmap.Pair
	// mapped are the mounts for toMap.
	toMap, toShift []*volume
	mapped         []idmount.MappedVolume
}

func (v *volumes) close() {
	for _, x := range slices.Concat(v.toMap, v.toShift) {
		x.file.Close()
	}
	for i := range v.mapped {
		v.mapped[i].Close()
	}
}

// openVolumes opens the bind mounts of a container, and creates detached mounts of those to be
// idmapped. It changes nothing, and fails with Problems if some cannot be mapped. The caller closes
// the result.
func (r *Remapper) openVolumes(
	ctx context.Context, c *oci.Config, pair idmap.Pair, bundle, id string,
) (*volumes, error) {
	v := &volumes{r: r, config: c, pair: pair}
	err := v.find(bundle, id)
	if err == nil {
		err = v.prepare(ctx)
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// find opens the sources of the bind mounts whose ids are to be mapped and are not yet. The runtime
// reports one that is missing.
func (v *volumes) find(bundle, id string) error {
	modes, err := v.r.volumeModes(v.config)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(modes, func(m VolumeMode) bool { return m.kind != "" }) {
		return nil
	}
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	for i, m := range v.config.Spec.Mounts {
		if modes[i].kind == "" {
			continue
		}
		x, err := openVolume(m, bundle, id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Destination, err)
		}
		x.index, x.mode = i, modes[i]
		on, err := idmount.MountOf(x.file, table)
		_, isHost := v.pair.UID.ToContainer(x.inode.UID)
		switch {
		case err == nil && (idmount.IsKernels(on.FSType) || isHost && x.mode.kind == IDMap):
			x.file.Close()
		case x.mode.kind == Shift || x.isOwn:
			v.toShift = append(v.toShift, x)
		default:
			v.toMap = append(v.toMap, x)
		}
	}
	return nil
}

// engineIDLength is the length of the ids that engines give containers.
const engineIDLength = 64

func openVolume(m specs.Mount, bundle, id string) (*volume, error) {
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(bundle, source)
	}
	file, err := sys.OpenPath(source)
	if err != nil {
		return nil, err
	}
	inode, err := sys.StatxCached(file.Path())
	if err != nil {
		file.Close()
		return nil, err
	}
	m.Source = source
	isOwn := len(id) == engineIDLength && strings.Contains(source, "/"+id+"/")
	return &volume{mount: m, file: file, inode: inode, isOwn: isOwn}, nil
}

// prepare creates the detached mounts, and checks what will be shifted.
func (v *volumes) prepare(ctx context.Context) error {
	var problems shift.Problems
	sources := make([]idmount.Volume, len(v.toMap))
	for i, x := range v.toMap {
		sources[i] = x.toMap(v.pair, v.canRemount())
	}
	mapped, failed := idmount.MapVolumes(sources)
	v.mapped = mapped
	for _, e := range failed {
		problems = append(problems, v.toMap[e.Index].problem(e.Err))
	}
	for _, x := range v.toShift {
		err := v.shift(ctx, x, true)
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

// canRemount reports whether the container may change the options of its mounts.
func (v *volumes) canRemount() bool {
	p := v.config.Spec.Process
	return p == nil || p.Capabilities == nil ||
		slices.Contains(p.Capabilities.Bounding, "CAP_SYS_ADMIN")
}

func (x *volume) toMap(pair idmap.Pair, canRemount bool) idmount.Volume {
	options := x.mount.Options
	return idmount.Volume{
		Source: x.file, Pair: x.mode.diskPair(pair), Recursive: hasAny(options, "rbind"),
		ReadOnly:      hasAny(options, "ro", "rro"),
		ReadOnlyBelow: hasAny(options, "rro"),
		Private:       hasAny(options, "private", "rprivate"),
		CanRemount:    canRemount,
	}
}

func hasAny(options []string, names ...string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(names, o) })
}

// problem returns the remedy for an error of idmount.MapVolumes.
func (x *volume) problem(err error) shift.Problem {
	p := shift.Problem{Text: fmt.Sprintf("volume %s: %v", x.mount.Destination, err)}
	annotation := fmt.Sprintf("annotation %s.%s=", VolumesAnnotation, x.mount.Destination)
	p.Remedy = annotation + Leave
	if reachable, ok := errors.AsType[*idmount.ReachableError](err); ok {
		p.Text = fmt.Sprintf("volume %s: other users of the host can reach %s, "+
			"and execute files that the container makes set-id root", x.mount.Destination, reachable.Path)
		p.Remedy = fmt.Sprintf("%s, or mount its file system with nosuid, or %sidmap=UID:GID with an "+
			"owner other than root", reachable.Remedy, annotation)
	} else if unmappable, ok := errors.AsType[*idmount.UnmappableError](err); ok {
		p.Remedy += " or =shift"
		if unmappable.IsBelow {
			p.Remedy += ", or unmount it, or bind instead of rbind"
		}
	} else if owner, ok := errors.AsType[*idmount.OwnerError](err); ok {
		p.Remedy = fmt.Sprintf("%sidmap=%d:%d, or chown it, or %s", annotation, owner.UID, owner.GID,
			p.Remedy)
	}
	return p
}

// shift shifts a volume and the mounts that it includes, or only checks them.
func (v *volumes) shift(ctx context.Context, x *volume, isCheck bool) error {
	host, err := os.Readlink(x.file.Path())
	if err == nil && host != filepath.Clean(x.mount.Source) {
		return shift.Problems{{
			Text: fmt.Sprintf("volume %s: %s leads to %s by a symbolic link", x.mount.Destination,
				x.mount.Source, host),
			Remedy: "name that",
		}}
	}
	if err != nil {
		return err
	}
	paths := []string{host}
	if hasAny(x.mount.Options, "rbind") {
		points, err := idmount.Submounts(x.file)
		if err != nil {
			return err
		}
		paths = append(paths, points...)
	}
	for _, path := range paths {
		if err := v.r.shiftPath(ctx, path, v.pair, isCheck); err != nil {
			return fmt.Errorf("volume %s: %w", x.mount.Destination, err)
		}
	}
	return nil
}

// shiftPath shifts a directory or a single file.
func (r *Remapper) shiftPath(
	ctx context.Context, path string, pair idmap.Pair, isCheck bool,
) error {
	file, err := sys.OpenPath(path)
	if err != nil {
		return err
	}
	defer file.Close()
	inode, err := file.Statx()
	if err != nil {
		return err
	}
	if inode.IsDir() && !isEmpty(path) {
		checked := *r
		checked.Options.DryRun = isCheck
		return checked.shiftRoot(ctx, path, pair)
	}
	return shiftSingle(file, path, &inode, pair, isCheck)
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// shiftSingle changes the owner of a file, or of an empty directory. There is no record of that.
func shiftSingle(
	file sys.File, path string, inode *sys.Inode, pair idmap.Pair, isCheck bool,
) error {
	change := idmap.Change{To: pair}
	total := change.Total()
	uid, kind := total.UID.To(inode.UID)
	gid, groupKind := total.GID.To(inode.GID)
	caps, err := file.Attr("security.capability")
	if err != nil {
		return err
	}
	var p shift.Problems
	switch {
	case kind == idmap.Unmapped || groupKind == idmap.Unmapped:
		p = shift.Problems{{Text: fmt.Sprintf("%s belongs to %d:%d, which is not mapped", path,
			inode.UID, inode.GID), Remedy: "chown it"}}
	case !inode.IsDir() && inode.Links > 1:
		p = shift.Problems{{Text: path + " has other hard links", Remedy: "copy it"}}
	case inode.HasSetID() || len(caps) > 0:
		p = shift.Problems{{Text: path + " has set-id bits or capabilities",
			Remedy: "mount its directory"}}
	}
	if len(p) > 0 {
		return p
	}
	if isCheck || uid == inode.UID && gid == inode.GID {
		return nil
	}
	return file.Chown(uid, gid)
}

// mount shifts and mounts the volumes, and changes the sources in the configuration.
func (v *volumes) mount(ctx context.Context, id string) error {
	for _, x := range v.toShift {
		if err := v.shift(ctx, x, false); err != nil {
			return err
		}
	}
	for i, x := range v.toMap {
		point := filepath.Join(v.r.RunDir, id, fmt.Sprintf("volume-%d", x.index))
		if err := createPoint(point, x.inode.IsDir()); err != nil {
			return err
		}
		if err := v.mapped[i].Attach(point); err != nil {
			return fmt.Errorf("volume %s: %w", x.mount.Destination, err)
		}
		x.mount.Source = point
		if err := v.config.SetMount(x.index, x.mount); err != nil {
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

// shiftVolumes shifts the volumes of a container that a hook has found. A hook runs too late for
// idmapped mounts, or before the container has an id.
func (h *Hook) shiftVolumes(
	ctx context.Context, c *oci.Config, pair idmap.Pair, bundle, id string,
) error {
	v := &volumes{r: h.Remapper, config: c, pair: pair}
	defer v.close()
	if err := v.find(bundle, id); err != nil {
		return err
	}
	if len(v.toMap) > 0 {
		return fmt.Errorf("volume %s: idmap does not work in a hook; use the runtime wrapper, or shift",
			v.toMap[0].mount.Destination)
	}
	if err := v.prepare(ctx); err != nil {
		return err
	}
	return v.mount(ctx, id)
}
