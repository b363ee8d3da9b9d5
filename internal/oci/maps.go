package oci

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// BundleMaps returns the id mappings of the user namespace in a bundle's configuration
// (runtime-spec, config-linux.md, "User namespace mappings").
func BundleMaps(dir string) (idmap.Pair, error) {
	file := filepath.Join(dir, ConfigFile)
	var spec specs.Spec
	if err := readJSON(file, &spec); err != nil {
		return idmap.Pair{}, err
	}
	linux := spec.Linux
	if linux == nil || len(linux.UIDMappings)+len(linux.GIDMappings) == 0 {
		return idmap.Pair{}, fmt.Errorf("%s has no user namespace mappings", file)
	}
	p := idmap.Pair{UID: FromMappings(linux.UIDMappings), GID: FromMappings(linux.GIDMappings)}
	if err := p.Check(); err != nil {
		return idmap.Pair{}, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// FromMappings converts the mappings of a configuration.
func FromMappings(mappings []specs.LinuxIDMapping) (m idmap.Map) {
	for _, e := range mappings {
		m = append(m, idmap.Extent{Container: e.ContainerID, Host: e.HostID, Size: e.Size})
	}
	return m
}

// ToMappings converts a map to the mappings of a configuration.
func ToMappings(m idmap.Map) (mappings []specs.LinuxIDMapping) {
	for _, e := range m {
		mapping := specs.LinuxIDMapping{ContainerID: e.Container, HostID: e.Host, Size: e.Size}
		mappings = append(mappings, mapping)
	}
	return mappings
}

// ErrNoUserNamespace is the error for a process in the host's user namespace.
var ErrNoUserNamespace = errors.New("no user namespace of its own")

// ProcessMaps returns the id mappings of a process's user namespace.
func ProcessMaps(pid int) (idmap.Pair, error) {
	process, err := sys.OpenDir("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return idmap.Pair{}, err
	}
	defer process.Close()
	p, err := MapsOf(process)
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	return p, nil
}

// MapsOf returns the id mappings of the process whose directory in /proc is process
// (/proc/<pid>/uid_map, user_namespaces(7)).
func MapsOf(process sys.File) (p idmap.Pair, err error) {
	for _, m := range []struct {
		name string
		to   *idmap.Map
	}{{"uid_map", &p.UID}, {"gid_map", &p.GID}} {
		text, err := process.ReadFileAt(m.name, nil)
		if err != nil {
			return idmap.Pair{}, err
		}
		if *m.to, err = idmap.ParseProc(text); err != nil {
			return idmap.Pair{}, err
		}
	}
	if len(p.UID) == 0 || len(p.GID) == 0 || p.UID.IsIdentity() && p.GID.IsIdentity() {
		return idmap.Pair{}, ErrNoUserNamespace
	}
	return p, nil
}
