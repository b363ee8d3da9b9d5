//go:build integration

package authz

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

// startPodman starts Podman's service, and returns its socket.
func startPodman(t *testing.T) (socket string) {
	t.Helper()
	engine.Need(t, "podman", "runc")
	engine.OwnLib(t)
	t.Cleanup(func() {
		// Podman mounts the directory of network namespaces on itself.
		err := syscall.Unmount("/run/netns", syscall.MNT_DETACH)
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			t.Error(err)
		}
	})
	socket = "/run/podman/podman.sock"
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	engine.Start(t, t.TempDir(), "podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
		"--runtime", "runc", "system", "service", "--time", "0", "unix://"+socket)
	engine.WaitFor(t, "podman to answer", func() bool { return canDial(socket) })
	return socket
}

// TestFrontPodmanRules checks that requests by which Podman gives users the host are denied.
// Podman itself accepts all of them.
func TestFrontPodmanRules(t *testing.T) {
	socket := startPodman(t)
	f := startFront(t, "podman", socket, `{"name":"ruled","users":["alice"],"actions":[""],"deny":[`+
		`"privileged","binds","pid","devices","security-options","sysctls","runtime"]}`, "alice")
	image := filepath.Join(f.dir, "image.tar")
	tar := exec.Command("tar", "-C", shared.rootfs, "-cf", image, ".")
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	podman := func(socket string, args ...string) (string, error) {
		args = append([]string{"--remote", "--url", "unix://" + socket}, args...)
		out, err := exec.CommandContext(t.Context(), "podman", args...).CombinedOutput()
		return string(out), err
	}
	// A container without options is created through the front.
	for _, args := range [][]string{
		{"import", image, "box"},
		{"create", "--name", "plain", "--network", "none", "--volume", "data:/data", "box", "true"},
		{"pod", "create", "--infra=false", "mine"},
	} {
		if out, err := podman(f.socketOf("alice"), args...); err != nil {
			t.Errorf("podman %q: %v: %s", args, err, out)
		}
	}
	const (
		create = "/v4.3.1/libpod/containers/create"
		compat = "/v1.41/containers/create"
		pod    = "/v4.3.1/libpod/pods/create"
	)
	spec := func(more string) string {
		return `{"command":["true"],"netns":{"nsmode":"none"},` + more + `}`
	}
	box := func(more string) string { return spec(`"image":"box",` + more) }
	ofDocker := func(config, host string) string {
		return `{"Image":"localhost/box","Cmd":["true"]` + config +
			`,"HostConfig":{"NetworkMode":"none"` + host + `}}`
	}
	file := func(name string) string { return filepath.Join(f.dir, name) }
	driver := url.QueryEscape(fmt.Sprintf(
		`{"store":"touch %s","list":"true","lookup":"true","delete":"true"}`, file("secret"),
	))
	for _, tt := range []struct{ target, body, result string }{
		{create, box(`"privileged":true`), ""},
		{create, box(`"pidns":{"nsmode":"path","value":"/proc/1/ns/pid"}`), ""},
		{create, box(`"mounts":[{"type":"bind","source":"/etc","destination":"/x"}]`), ""},
		{create, box(`"overlay_volumes":[{"source":"/etc","destination":"/x"}]`), ""},
		{
			create,
			box(`"volumes":[{"Name":"v","Dest":"/x","Options":["O","upperdir=/etc","workdir=/w"]}]`), "",
		},
		{create, box(`"log_configuration":{"driver":"k8s-file","path":"` + file("log") + `"}`), ""},
		{create, box(`"seccomp_profile_path":"unconfined"`), ""},
		{create, box(`"sysctl":{"kernel.msgmax":"1"}`), ""},
		{create, box(`"devices":[{"path":"/dev/null"}]`), ""},
		{create, spec(`"rootfs":"/","rootfs_overlay":true`), ""},
		{create, box(`"annotations":{"io.podman.annotations.cid-file":"/tmp/x"}`), ""},
		{
			"/v4.3.1/libpod/volumes/create",
			`{"Name":"tab","Options":{"type":"tmpfs","device":"--fstab=/data/fstab"}}`, "",
		},
		{compat, ofDocker(`,"Volumes":{"/etc:/x":{}}`, ""), ""},
		{compat, ofDocker("", `,"Binds":["/etc:/x"]`), ""},
		{compat, ofDocker("", `,"PidMode":"ns:/proc/1/ns/pid"`), ""},
		{compat, ofDocker("", `,"LogConfig":{"Type":"k8s-file","Config":{"path":"/tmp/x"}}`), ""},
		{pod, `{"name":"p","no_infra":true,"security_opt":["label=disable"]}`, ""},
		{"/v1.41/images/localhost/box/push?destination=docker-archive:" + file("pushed"), "", "pushed"},
		{"/v4.3.1/libpod/images/import?url=" + image, "", ""},
		{"/v1.41/images/create?fromSrc=" + image, "", ""},
		{"/v4.3.1/libpod/secrets/create?name=s&driver=shell&driveropts=" + driver, "x", "secret"},
	} {
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\nConnection: close\r\n\r\n%s", tt.target, len(tt.body), tt.body)
		code, text, err := oneRequest("unix", f.socketOf("alice"), request)
		if err != nil || code != 403 || !strings.Contains(text, "denied by authz-broker") {
			t.Errorf("%s %s: %d, %s, %v; want 403", tt.target, tt.body, code, text, err)
		}
		if _, err := os.Stat(file(tt.result)); tt.result != "" && err == nil {
			t.Errorf("%s %s: %s exists", tt.target, tt.body, tt.result)
		}
		if code, text, err = oneRequest("unix", socket, request); err != nil || code/100 != 2 {
			t.Errorf("%s %s without the front: %d, %s, %v", tt.target, tt.body, code, text, err)
		}
		if _, err := os.Stat(file(tt.result)); tt.result != "" && err != nil {
			t.Errorf("%s %s without the front: %v", tt.target, tt.body, err)
		}
	}
}
