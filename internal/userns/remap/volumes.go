package remap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
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

// find opens the sources of the bind mounts with modes, unless their ids are mapped already. The
// runtime reports one that is missing.
func (m *mounts) find(bundle, id string, modes []VolumeMode) error {
	if !slices.ContainsFunc(modes, func(m VolumeMode) bool { return m.kind != "" }) {
		return nil
	}
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	for i, mount := range m.config.Spec.Mounts {
		if modes[i].kind == "" {
			continue
		}
		x, err := openVolume(mount, bundle, id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", mount.Destination, err)
		}
		x.index, x.mode = i, modes[i]
		on, err := idmount.MountOf(x.file, table)
		switch {
		case err == nil && (idmount.IsKernels(on.FSType) || x.mode.kind == IDMap && m.isShifted(x)):
			x.file.Close()
		case x.mode.kind == Shift || x.isOwn:
			m.toShift = append(m.toShift, x)
		default:
			m.toMap = append(m.toMap, x)
		}
	}
	return nil
}

// isShifted reports whether the source of a volume has the container's ids on the host already.
func (m *mounts) isShifted(x *volume) bool {
	_, isHost := m.pair.UID.ToContainer(x.inode.UID)
	_, isStored := x.mode.diskPair(m.pair).UID.Host(x.inode.UID)
	return isHost && !isStored
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

// checkOwner returns a problem if the owner of a writable source is unmapped: the kernel lets no
// user change such a file.
func (x *volume) checkOwner(pair idmap.Pair) shift.Problems {
	stored := x.mode.diskPair(pair)
	_, hasUser := stored.UID.Host(x.inode.UID)
	_, hasGroup := stored.GID.Host(x.inode.GID)
	if hasUser && hasGroup || hasAny(x.mount.Options, "ro", "rro") {
		return nil
	}
	return shift.Problems{{
		Text: fmt.Sprintf("volume %s: %s belongs to %d:%d, which is not mapped", x.mount.Destination,
			x.mount.Source, x.inode.UID, x.inode.GID),
		Remedy: fmt.Sprintf("%sidmap=%d:%d, or chown it, or %[1]sleave", x.annotation(), x.inode.UID,
			x.inode.GID),
	}}
}

// annotation returns the beginning of an annotation for the volume.
func (x *volume) annotation() string {
	return fmt.Sprintf("annotation %s.%s=", VolumesAnnotation, x.mount.Destination)
}

// canRemount reports whether the container may change the options of its mounts.
func (m *mounts) canRemount() bool {
	p := m.config.Spec.Process
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
	p.Remedy = x.annotation() + Leave
	if reachable, ok := errors.AsType[*idmount.ReachableError](err); ok {
		p.Text = fmt.Sprintf("volume %s: other users of the host can reach %s, "+
			"and execute files that the container makes set-id root", x.mount.Destination, reachable.Path)
		p.Remedy = fmt.Sprintf("%s, or mount its file system with nosuid, or %sidmap=UID:GID with an "+
			"owner other than root", reachable.Remedy, x.annotation())
	} else if unmappable, ok := errors.AsType[*idmount.UnmappableError](err); ok {
		p.Remedy += " or =shift"
		if unmappable.IsBelow {
			p.Remedy += ", or unmount it, or bind instead of rbind"
		}
	}
	return p
}
