package container

import (
	"os"
	"path/filepath"
	"strings"
)

// runtimeStates are the directories in which low-level runtimes have one for each container.
var runtimeStates = []string{"/run/runc", "/run/crun"}

// maxParts bounds the components of a cgroup path that are examined: cgroups can be nested to any
// depth.
const maxParts = 32

// runtimeMade returns the shortest leading part of a cgroup path that a container runtime created,
// or "". In stateDirs, low-level runtimes have a directory for each container with its id as name,
// which is by default also the last component of the cgroup path.
func runtimeMade(path string, stateDirs []string) string {
	for end, parts := 1, 0; end < len(path) && parts < maxParts; end, parts = end+1, parts+1 {
		next := strings.IndexByte(path[end:], '/')
		if next < 0 {
			next = len(path) - end
		}
		end += next
		if madeByRuntime(filepath.Base(path[:end]), stateDirs) {
			return path[:end]
		}
	}
	return ""
}

// madeByRuntime reports whether a component of a cgroup path has a name that runtimes give.
func madeByRuntime(name string, stateDirs []string) bool {
	if isHexID(name) || strings.HasPrefix(name, "lxc.payload.") {
		return true
	}
	if scope, ok := strings.CutSuffix(name, ".scope"); ok && isContainerScope(scope) {
		return true
	}
	if name == ".." { // outside the reader's cgroup namespace (cgroup_namespaces(7))
		return false
	}
	for _, dir := range stateDirs {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// isContainerScope reports whether a systemd scope is a container's: <engine>-<id>, but not that of
// its monitor (libpod-conmon-<id>), or a scope registered with systemd-machined.
func isContainerScope(scope string) bool {
	i := strings.LastIndexByte(scope, '-')
	return i >= 0 && (strings.HasPrefix(scope, "machine-") ||
		isHexID(scope[i+1:]) && !strings.Contains(scope[:i], "conmon"))
}

// isHexID reports whether name is a container id of Docker, Podman, containerd or iSulad: 64
// hexadecimal digits.
func isHexID(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}
