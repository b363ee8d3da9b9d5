package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci/idmap"
)

const configText = `{"ociVersion":"1.0.2","x-kept":{"a":[1,2.50,"<&>"]},"root":{"path":"rootfs","x":1},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["gid=5"],"x":"kept"}],
"hooks":{"prestart":[{"path":"/bin/other","timeout":7}]},
"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}],"sysctl":{"a.b":"1"},"x":true}}`

// TestConfig changes a configuration; unknown fields are kept.
func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), ConfigFile)
	if err := os.WriteFile(file, []byte(configText), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.RootPath("/bundle"); got != "/bundle/rootfs" {
		t.Errorf("the root is %s", got)
	}
	if c.Namespace(specs.UserNamespace) != nil || c.Namespace(specs.NetworkNamespace).Path != "/run/netns/x" || c.Namespace(specs.PIDNamespace).Path != "" {
		t.Error("namespaces are not what they are")
	}
	if got := c.HookTimeout("/bin/other"); got != 7*time.Second {
		t.Errorf("the timeout is %v", got)
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
	pts := c.Spec.Mounts[1]
	pts.Options = []string{"newinstance"}
	for _, err := range []error{
		c.SetRoot("/new"), c.SetUserNamespace(ids, ids), c.SetMount(1, pts), c.SetSysctl("a.b", "2"),
		c.AddPoststop(specs.Hook{Path: "/bin/gone"}), c.AddPoststop(specs.Hook{Path: "/bin/gone"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, keep := range []bool{true, false} { // the original is the first one
		if err := c.Replace(file, keep); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"ociVersion":"1.0.2","x-kept":{"a":[1,2.50,"<&>"]},"root":{"path":"/new","x":1},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance"],"x":"kept"}],
"hooks":{"prestart":[{"path":"/bin/other","timeout":7}],"poststop":[{"path":"/bin/gone"}]},
"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"},{"type":"user"}],"sysctl":{"a.b":"2"},"x":true,
"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":1000,"size":10}]}}`
	got, err := os.ReadFile(file)
	if err != nil || !sameJSON(t, string(got), want) {
		t.Errorf("got  %s\nwant %s (%v)", got, want, err)
	}
	if kept, err := os.ReadFile(Original(file)); err != nil || string(kept) != configText {
		t.Errorf("the original is %s (%v)", kept, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
	maps, err := BundleMaps(filepath.Dir(file))
	wantMaps := idmap.Map{{Container: 0, Host: 1000, Size: 10}}
	if err != nil || !maps.UID.Equal(wantMaps) || !maps.GID.Equal(wantMaps) {
		t.Errorf("its maps are %v (%v)", maps, err)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// TestConfigMistakes parses what is no configuration.
func TestConfigMistakes(t *testing.T) {
	for _, text := range []string{"", "null", "[]", "{", `{"linux":[]}`, `{"mounts":{}}`} {
		if c, err := ParseConfig([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, c)
		}
	}
	for text, want := range map[string]string{
		`{}`: "no user namespace mappings",
		`{"linux":{"uidMappings":[{"hostID":1,"size":0}],"gidMappings":[{"hostID":1,"size":1}]}}`:          "maps nothing",
		`{"linux":{"uidMappings":[{"hostID":4294967295,"size":5}],"gidMappings":[{"hostID":1,"size":1}]}}`: "exceeds the last id",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := BundleMaps(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzConfig changes hostile configurations.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(configText))
	f.Add([]byte(`{"root":null,"linux":{"namespaces":null},"mounts":[null],"hooks":{"poststop":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		c.RootPath("/b")
		err = c.SetRoot("/x")
		if err == nil {
			err = c.SetUserNamespace(nil, nil)
		}
		for i, m := range c.Spec.Mounts {
			if err == nil {
				err = c.SetMount(i, m)
			}
		}
		if err == nil {
			err = c.AddPoststop(specs.Hook{Path: "/p"})
		}
		if err != nil {
			return
		}
		changed, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(changed)
		if err != nil || again.Spec.Root.Path != "/x" || again.Namespace(specs.UserNamespace) == nil {
			t.Fatalf("%s has become %s (%v)", text, changed, err)
		}
	})
}
