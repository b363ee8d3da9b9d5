package remap

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
)

// VolumesAnnotation is the key of the annotation with the VolumeMode of a container. With a dot and
// the destination of a bind mount, it is for that mount.
const VolumesAnnotation = "palisade.volumes"

// VolumeMode is the way to map the ids of a bind mount. The zero mode leaves it as it is.
type VolumeMode struct {
	// kind is Shift, IDMap, or "".
	kind Mode
	// owner is the owner of the files on the disk, or nil for the container's own ids.
	owner *idmap.Owner
}

// Leave is the text of the zero VolumeMode.
const Leave = "leave"

// ParseVolumeMode parses idmap, idmap=UID:GID, idmap=UID:GID:SIZE, shift or leave.
func ParseVolumeMode(text string) (VolumeMode, error) {
	switch text {
	case Leave:
		return VolumeMode{}, nil
	case Shift, IDMap:
		return VolumeMode{kind: text}, nil
	}
	value, ok := strings.CutPrefix(text, IDMap+"=")
	if !ok {
		return VolumeMode{}, fmt.Errorf("%q is none of idmap, idmap=UID:GID, idmap=UID:GID:SIZE, "+
			"shift, leave", text)
	}
	owner, err := idmap.ParseOwner(value)
	return VolumeMode{kind: IDMap, owner: &owner}, err
}

// diskPair returns the maps from the ids on the disk to those of the host, for a container with the
// pair.
func (m VolumeMode) diskPair(pair idmap.Pair) idmap.Pair {
	if m.owner == nil {
		return pair
	}
	return m.owner.OnHost(pair)
}

// volumeModes returns the mode of each mount of a configuration.
func (r *Remapper) volumeModes(c *oci.Config) ([]VolumeMode, error) {
	all := r.Volumes
	if text, ok := c.Spec.Annotations[VolumesAnnotation]; ok {
		mode, err := ParseVolumeMode(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", VolumesAnnotation, err)
		}
		all = mode
	}
	modes := make([]VolumeMode, len(c.Spec.Mounts))
	for i := range c.Spec.Mounts {
		if isVolume(&c.Spec.Mounts[i]) {
			modes[i] = all
		}
	}
	for key, text := range c.Spec.Annotations {
		destination, ok := strings.CutPrefix(key, VolumesAnnotation+".")
		if !ok {
			continue
		}
		mode, err := ParseVolumeMode(text)
		found := false
		for i := range c.Spec.Mounts {
			m := &c.Spec.Mounts[i]
			if isVolume(m) && path.Clean("/"+m.Destination) == path.Clean("/"+destination) {
				modes[i], found = mode, true
			}
		}
		if err == nil && !found {
			err = fmt.Errorf("the container has no bind mount at %s", destination)
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", key, err)
		}
	}
	return modes, nil
}

// isVolume reports whether a mount is a bind mount whose ids the runtime does not map itself.
func isVolume(m *specs.Mount) bool {
	isBind := m.Type == "bind" || hasAny(m.Options, "bind", "rbind")
	isMapped := len(m.UIDMappings) > 0 || hasAny(m.Options, "idmap", "ridmap")
	return isBind && !isMapped
}
