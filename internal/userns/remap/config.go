package remap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/idmap"
	"palisade/internal/oci"
)

// adapt changes a configuration so that the container gets a user namespace with the maps, and nothing that cannot work in it.
func (r *Remapper) adapt(c *oci.Config, pair idmap.Pair) error {
	switch path := c.NamespacePath(specs.UserNamespace); {
	case path != "":
		return fmt.Errorf("the container joins the user namespace %s, which has maps of its own", path)
	case isPrivileged(&c.Spec):
		return errors.New("the container is privileged, which a user namespace cannot be together with")
	}
	ids := mappedIDs(pair)
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
		changed, why := ids.adaptMount(m, c)
		if why == "" {
			continue
		}
		r.Log.Info("changed a mount that cannot work in the user namespace", "mount", m.Destination, "why", why)
		if err := c.SetMount(i, changed); err != nil {
			return err
		}
	}
	return nil
}

// isPrivileged tells whether a configuration is what engines make of --privileged: it may load modules and use the machine's
// ports, and nothing of /proc is hidden.
func isPrivileged(s *specs.Spec) bool {
	if s.Process == nil || s.Process.Capabilities == nil || s.Linux == nil {
		return false
	}
	bounding := s.Process.Capabilities.Bounding
	return slices.Contains(bounding, "CAP_SYS_MODULE") && slices.Contains(bounding, "CAP_SYS_RAWIO") &&
		len(s.Linux.MaskedPaths) == 0 && len(s.Linux.ReadonlyPaths) == 0
}

// mapped knows which ids a user namespace has, as runc does.
type mapped struct {
	config configs.Config
	pair   idmap.Pair
}

func mappedIDs(pair idmap.Pair) *mapped {
	m := &mapped{pair: pair}
	m.config.Namespaces = configs.Namespaces{{Type: configs.NEWUSER}}
	m.config.UIDMappings, m.config.GIDMappings = runcMappings(pair.UID), runcMappings(pair.GID)
	return m
}

func runcMappings(m idmap.Map) (mappings []configs.IDMap) {
	for _, e := range m {
		mappings = append(mappings, configs.IDMap{ContainerID: int64(e.Container), HostID: int64(e.Host), Size: int64(e.Size)})
	}
	return mappings
}

func (m *mapped) hasUID(id int) bool {
	_, err := m.config.HostUID(id)
	return err == nil
}

func (m *mapped) hasGID(id int) bool {
	_, err := m.config.HostGID(id)
	return err == nil
}

// checkProcess makes sure that the ids of the container's process are mapped.
func (m *mapped) checkProcess(p *specs.Process) error {
	if !m.hasUID(0) || !m.hasGID(0) {
		return fmt.Errorf("the map %s has no root", m.pair)
	}
	if p == nil {
		return nil
	}
	if !m.hasUID(int(p.User.UID)) {
		return fmt.Errorf("uid %d of the container's process is not mapped: an offset of at least %d is needed", p.User.UID, p.User.UID+1)
	}
	for _, gid := range append([]uint32{p.User.GID}, p.User.AdditionalGids...) {
		if !m.hasGID(int(gid)) {
			return fmt.Errorf("gid %d of the container's process is not mapped: an offset of at least %d is needed", gid, gid+1)
		}
	}
	return nil
}

// pingGroups is the sysctl for the groups that may ping: the first and the last one (ip-sysctl.rst). Docker gives it all, of
// which the kernel takes none that are not mapped.
const pingGroups = "net.ipv4.ping_group_range"

// adaptPing leaves the groups out that are not mapped.
func (m *mapped) adaptPing(c *oci.Config) error {
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

// adaptMount returns what a mount is to be in the user namespace, and why; why is empty if it can stay.
func (m *mapped) adaptMount(mount specs.Mount, c *oci.Config) (changed specs.Mount, why string) {
	switch mount.Type {
	case "devpts", "tmpfs":
		mount.Options = slices.DeleteFunc(slices.Clone(mount.Options), func(option string) bool {
			unmapped := m.isUnmappedOption(option)
			if unmapped {
				why = option + " is not mapped"
			}
			return unmapped
		})
		return mount, why
	case "sysfs":
		// Only who owns the network namespace can mount it (kernel, sysfs_init_fs_context).
		if c.HasNamespace(specs.NetworkNamespace) && c.NamespacePath(specs.NetworkNamespace) == "" {
			return mount, ""
		}
		mount.Type, mount.Source = "none", "/sys"
		mount.Options = append([]string{"rbind"}, slices.DeleteFunc(slices.Clone(mount.Options), func(option string) bool {
			return option == "bind" || option == "rbind"
		})...)
		return mount, "sysfs belongs to the network namespace, which is not the container's own"
	}
	return mount, ""
}

// isUnmappedOption tells whether an option names an id that is not mapped.
func (m *mapped) isUnmappedOption(option string) bool {
	key, value, _ := strings.Cut(option, "=")
	id, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return false
	}
	return key == "gid" && !m.hasGID(int(id)) || key == "uid" && !m.hasUID(int(id))
}
