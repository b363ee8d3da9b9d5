package container

import (
	"os"
	"path/filepath"
	"strings"
)

// maxParts bounds the components of a cgroup path that are examined: cgroups can be nested to any
// depth.
const maxParts = 32

// runtimeMade is the shortest leading part of a cgroup path that a container runtime made, "" if there is none. stateDirs
// is where low-level runtimes keep a folder for each container, named by its id, which is also the last part of its
// cgroup's path unless the user named another.
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

// madeByRuntime judges one component of a path.
func madeByRuntime(name string, stateDirs []string) bool {
	if isHexID(name) || strings.HasPrefix(name, "lxc.payload.") {
		return true
	}
	if scope, ok := strings.CutSuffix(name, ".scope"); ok && isContainerScope(scope) {
		return true
	}
	if name == ".." { // how the kernel shows what lies outside of the own cgroup namespace
		return false
	}
	for _, dir := range stateDirs {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// isContainerScope tells whether a systemd scope of that name is a container's: <engine>-<id>, or one that
// systemd-machined registered. The scope of an engine's monitor (libpod-conmon-<id>) is not.
func isContainerScope(scope string) bool {
	i := strings.LastIndexByte(scope, '-')
	if i < 0 {
		return false
	}
	return isHexID(scope[i+1:]) && !strings.Contains(scope[:i], "conmon") || strings.HasPrefix(scope, "machine-")
}

// isHexID tells whether name is the id that Docker, Podman, containerd and iSulad give: 64 hexadecimal digits.
func isHexID(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}
