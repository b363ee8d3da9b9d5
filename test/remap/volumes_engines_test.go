//go:build integration

package remap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/engine"
)

// engineScript is the script of containers of engines: it prints the owners of volumes and of the
// engine's own files, and writes to each.
const engineScript = `for f in /data /host /etc/hosts /run/.containerenv; do ` +
	`[ ! -e $f ] || stat -c "%u $f" $f; done; ` +
	`echo "127.0.0.9 other" >>/etc/hosts && echo x >/data/made && echo x >/host/made && echo written; ` +
	`exec sleep 1000`

const (
	dockerOutput = "0 /data\n0 /host\n0 /etc/hosts\nwritten\n"
	podmanOutput = "0 /data\n0 /host\n0 /etc/hosts\n0 /run/.containerenv\nwritten\n"
)

// TestDockerVolumes checks a named volume, a bind mount, and Docker's own files in a container: a
// volume that others can reach is refused, and the client gets the remedy.
func TestDockerVolumes(t *testing.T) {
	image := tarOf(t)
	engine.ForEachDocker(t, func(t *testing.T, driver ...string) {
		host := newVolume(t, openDir(t))
		d := startDockerd(t, image, driver, "--volumes", "idmap")
		create := func(name string) {
			d.Must(t, "POST", "/containers/create?name="+name, map[string]any{
				"Image": "box", "Cmd": []string{"/bin/sh", "-c", engineScript}, "Tty": true,
				"HostConfig": map[string]any{"NetworkMode": "none", "Runtime": "userns",
					"CgroupParent": engine.ParentCgroup(t), "Binds": []string{"vol:/data", host + ":/host"}},
			})
			t.Cleanup(func() { d.Must(t, "DELETE", "/containers/"+name+"?force=true", nil) })
		}
		create("web")
		volume := "/var/lib/docker/volumes/vol"
		if _, err := d.Call("POST", "/containers/web/start", nil); err == nil ||
			!strings.Contains(err.Error(), "volume /data: other users of the host can reach "+volume+
				"/_data, and execute files that the container makes set-id root (chmod 0700 "+volume) {
			t.Errorf("reachable: %v", err)
		}
		if err := os.Chmod(volume, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"start", "restart?t=0"} {
			d.Must(t, "POST", "/containers/web/"+call, nil)
			engine.WaitFor(t, "output after "+call, func() bool {
				text := strings.ReplaceAll(d.Must(t, "GET", "/containers/web/logs?stdout=1&stderr=1", nil),
					"\r", "")
				return strings.HasSuffix(text, dockerOutput)
			})
		}
		for _, file := range []string{volume + "/_data/made", host + "/made"} {
			if uid := owner(t, file); uid != 0 {
				t.Errorf("%s belongs to %d on the disk", file, uid)
			}
		}
	})
}

// TestPodmanVolumes checks a named volume, a bind mount, a secret and Podman's own files in a
// container of the wrapper.
func TestPodmanVolumes(t *testing.T) {
	engine.Need(t, "podman", "runc", "tar")
	engine.OwnLib(t)
	dir := openDir(t)
	wrapper := filepath.Join(dir, "userns-shift-runc")
	if err := os.Symlink(shared.shift, wrapper); err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(dir, "closed/rootfs")
	newRootfs(t, rootfs)
	closeDir(t, filepath.Dir(rootfs))
	host := newVolume(t, openDir(t))
	podman := podmanWith(t, "--runtime", wrapper, "--hooks-dir", t.TempDir())
	secret := filepath.Join(dir, "secret")
	writeOwned(t, secret, 0)
	if r := podman("secret", "create", "word", secret); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	if r := podman("volume", "create", "vol"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	closeDir(t, "/var/lib/containers/storage/volumes/vol")
	parent := engine.ParentCgroup(t)
	t.Cleanup(func() { podman("rm", "--force", "--time", "0", "web") })
	r := podman("run", "--detach", "--name", "web", "--network", "none",
		"--cgroup-parent", parent, "--annotation", "palisade.user-remap="+remap100000,
		"--annotation", "palisade.volumes=idmap", "--volume", "vol:/data", "--volume", host+":/host",
		"--secret", "word,mode=400", "--rootfs", rootfs, "/bin/sh", "-c",
		"cat /run/secrets/word; "+engineScript)
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	for i, call := range []string{"start", "restart"} {
		if i > 0 {
			if r := podman("restart", "--time", "0", "web"); r.Code != 0 {
				t.Errorf("restart: %+v", r)
			}
		}
		engine.WaitFor(t, "output after "+call, func() bool {
			return podman("logs", "web").Stdout == strings.Repeat("secret\n"+podmanOutput, i+1)
		})
	}
	for _, file := range []string{"/var/lib/containers/storage/volumes/vol/_data/made",
		host + "/made"} {
		if uid := owner(t, file); uid != 0 {
			t.Errorf("%s belongs to %d on the disk", file, uid)
		}
	}
}
