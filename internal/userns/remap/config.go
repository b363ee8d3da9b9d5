package remap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/ranges"
)

// adapt changes a configuration: the container gets a user namespace with the maps, and settings
// that cannot work in it are changed.
func (r *Remapper) adapt(c *oci.Config, pair idmap.Pair) error {
	switch n := c.Namespace(specs.UserNamespace); {
	case n != nil && n.Path != "":
		return fmt.Errorf("the container joins the user namespace %s, which has other maps", n.Path)
	case isPrivileged(&c.Spec):
		return errors.New("the container is privileged, so it cannot have a user namespace")
	}
	ids := newMappedIDs(pair)
	if err := ids.checkProcess(c.Spec.Process); err != nil {
		return err
	}
	if err := c.SetUserNamespace(oci.ToMappings(pair.UID), oci.ToMappings(pair.GID)); err != nil {
		return err
	}
	if err := ids.adaptPing(c); err != nil {
		return err
	}
	for i, m := range c.Spec.Mounts {
		changed, reason := ids.adaptMount(m, c)
		if reason == "" {
			continue
		}
		r.Log.Info("changed a mount that cannot work in the user namespace",
			"mount", m.Destination, "why", reason)
		if err := c.SetMount(i, changed); err != nil {
			return err
		}
	}
	return nil
}

// isPrivileged reports whether a configuration has what engines set for --privileged: capabilities
// for modules and raw I/O, and no masked paths.
func isPrivileged(s *specs.Spec) bool {
	if s.Process == nil || s.Process.Capabilities == nil || s.Linux == nil {
		return false
	}
	bounding := s.Process.Capabilities.Bounding
	return slices.Contains(bounding, "CAP_SYS_MODULE") &&
		slices.Contains(bounding, "CAP_SYS_RAWIO") &&
		len(s.Linux.MaskedPaths) == 0 && len(s.Linux.ReadonlyPaths) == 0
}

// mappedIDs reports which ids are mapped, by runc's rules.
type mappedIDs struct {
	config configs.Config
	pair   idmap.Pair
}

func newMappedIDs(pair idmap.Pair) *mappedIDs {
	m := &mappedIDs{pair: pair}
	m.config.Namespaces = configs.Namespaces{{Type: configs.NEWUSER}}
	m.config.UIDMappings, m.config.GIDMappings = runcMappings(pair.UID), runcMappings(pair.GID)
	return m
}

func runcMappings(m idmap.Map) (mappings []configs.IDMap) {
	for _, e := range m {
		mappings = append(mappings, configs.IDMap{
			ContainerID: int64(e.Container), HostID: int64(e.Host), Size: int64(e.Size)})
	}
	return mappings
}

// has reports whether an id is mapped; kind is uid or gid.
func (m *mappedIDs) has(kind string, id int) bool {
	toHost := m.config.HostUID
	if kind == "gid" {
		toHost = m.config.HostGID
	}
	_, err := toHost(id)
	return err == nil
}

// checkProcess fails unless the ids of the container's process are mapped.
func (m *mappedIDs) checkProcess(p *specs.Process) error {
	if !m.has("uid", 0) || !m.has("gid", 0) {
		return fmt.Errorf("map %s has no root", m.pair)
	}
	if p == nil {
		return nil
	}
	kind, ids := "uid", append([]uint32{p.User.UID, p.User.GID}, p.User.AdditionalGids...)
	for _, id := range ids {
		if !m.has(kind, int(id)) {
			return fmt.Errorf("%s %d of the container's process is not mapped, "+
				"want an offset of at least %d", kind, id, uint64(id)+1)
		}
		kind = "gid"
	}
	return nil
}

// pingGroups is the sysctl with the first and the last group that may ping (ip-sysctl.rst). Docker
// sets all groups, but the kernel accepts only mapped ones.
const pingGroups = "net.ipv4.ping_group_range"

// adaptPing removes unmapped groups from the range.
func (m *mappedIDs) adaptPing(c *oci.Config) error {
	first, last, ok := strings.Cut(c.Spec.Linux.Sysctl[pingGroups], " ")
	low, err1 := strconv.ParseUint(first, 10, 31)
	high, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 31)
	if !ok || err1 != nil || err2 != nil || low > high {
		return nil
	}
	for _, e := range m.pair.GID {
		end := uint64(e.Container) + uint64(e.Size) - 1
		if low >= uint64(e.Container) && low <= end {
			if high <= end {
				return nil
			}
			return c.SetSysctl(pingGroups, fmt.Sprintf("%d %d", low, end))
		}
	}
	return nil
}

// adaptMount returns a mount for the user namespace and the reason for the change, "" if there is
// none.
func (m *mappedIDs) adaptMount(
	mount specs.Mount, c *oci.Config,
) (changed specs.Mount, reason string) {
	options := slices.Clone(mount.Options)
	switch mount.Type {
	case "devpts", "tmpfs":
		mount.Options = slices.DeleteFunc(options, func(option string) bool {
			unmapped := m.isUnmappedOption(option)
			if unmapped {
				reason = option + " is not mapped"
			}
			return unmapped
		})
		return mount, reason
	case "sysfs":
		// Only the owner of the network namespace can mount it (kernel, sysfs_init_fs_context).
		if n := c.Namespace(specs.NetworkNamespace); n != nil && n.Path == "" {
			return mount, ""
		}
		mount.Type, mount.Source = "none", "/sys"
		options = slices.DeleteFunc(options, func(option string) bool {
			return option == "bind" || option == "rbind"
		})
		mount.Options = append([]string{"rbind"}, options...)
		return mount, "sysfs belongs to the network namespace, which is not the container's own"
	}
	return mount, ""
}

// isUnmappedOption reports whether an option contains an unmapped id.
func (m *mappedIDs) isUnmappedOption(option string) bool {
	key, value, _ := strings.Cut(option, "=")
	id, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return false
	}
	return (key == "gid" || key == "uid") && !m.has(key, int(id))
}

// readCopyUp sets Options.AllowCopyUp if the configuration allows it.
func (r *Remapper) readCopyUp(c *oci.Config) {
	r.Options.AllowCopyUp = r.Options.AllowCopyUp || c.Spec.Annotations[CopyUpAnnotation] == "true"
}

// requestedMaps returns the maps that a configuration requests by the annotation or its own
// mappings, or that Remap requests for it; zero maps if there are none. If that is a range of the
// registry, it returns the result of auto, which gets the mappings of the configuration as well.
func (r *Remapper) requestedMaps(
	c *oci.Config, auto func(size uint32, own idmap.Pair) (idmap.Pair, error),
) (idmap.Pair, error) {
	own, err := ownMaps(c)
	if err != nil {
		return idmap.Pair{}, err
	}
	text, from := c.Spec.Annotations[Annotation], "annotation "+Annotation
	if text == "" {
		text, from = r.Remap, "--user-remap"
	}
	if text == "" {
		return own, nil
	}
	remap, err := ranges.ParseRemap(text)
	if err != nil {
		return idmap.Pair{}, fmt.Errorf("%s: %w", from, err)
	}
	if remap.IsAuto {
		return auto(remap.Size, own)
	}
	if !remap.HasEffect() {
		r.Log.Info("the user remap has no effect, since its uid or gid is 0", "remap", text)
		return own, nil
	}
	pair := remap.Pair()
	if !own.IsZero() && !own.Equal(pair) {
		return idmap.Pair{}, fmt.Errorf(
			"%s requests %s, but the container's own user namespace is %s", from, pair, own)
	}
	return pair, nil
}

// ownMaps returns the mappings of a configuration, zero maps if there are none or they change no
// id.
func ownMaps(c *oci.Config) (idmap.Pair, error) {
	linux := c.Spec.Linux
	if linux == nil || len(linux.UIDMappings) == 0 && len(linux.GIDMappings) == 0 {
		return idmap.Pair{}, nil
	}
	pair := idmap.Pair{
		UID: oci.FromMappings(linux.UIDMappings), GID: oci.FromMappings(linux.GIDMappings)}
	if err := pair.Check(); err != nil {
		return idmap.Pair{}, fmt.Errorf("the container's own user namespace: %w", err)
	}
	if pair.UID.IsIdentity() && pair.GID.IsIdentity() {
		return idmap.Pair{}, nil
	}
	return pair, nil
}
