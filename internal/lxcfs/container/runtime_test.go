package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRuntimeMade(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "web"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, want string
	}{
		{"root", "/", ""},
		{"a service of the host", "/system.slice/sshd.service", ""},
		{"a user's session", "/user.slice/user-0.slice/session-1.scope", ""},
		{"docker, cgroupfs", "/docker/" + id, "/docker/" + id},
		{"docker, systemd", "/system.slice/docker-" + id + ".scope", "/system.slice/docker-" + id + ".scope"},
		{"below a container", "/docker/" + id + "/init.scope", "/docker/" + id},
		{"docker in docker", "/docker/" + id + "/docker/" + id, "/docker/" + id},
		{"isulad", "/isulad/" + id, "/isulad/" + id},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", "/machine.slice/libpod-" + id + ".scope"},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + id + ".scope", ""},
		{"Kubernetes", "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope",
			"/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope"},
		{"a pod is no container", "/kubepods/burstable/pod9a0c4b2e", ""},
		{"machined", "/machine.slice/machine-fedora.scope/payload", "/machine.slice/machine-fedora.scope"},
		{"lxc", "/lxc.payload.db/system.slice", "/lxc.payload.db"},
		{"runc, by its state", "/web", "/web"},
		{"runc, somewhere below", "/a/web/b", "/a/web"},
		{"too far below", strings.Repeat("/a", maxParts) + "/web", ""},
		{"too short an id", "/docker/0123456789ab", ""},
		{"dots do not lead to other directories", "/..", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := runtimeMade(tt.path, []string{state}); got != tt.want {
				t.Errorf("runtimeMade(%q) = %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}
