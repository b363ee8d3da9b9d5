package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// denying returns a set with one policy, which grants alice all actions and has the given rules.
func denying(t *testing.T, rules ...string) *policy.Set {
	t.Helper()
	var list []string
	for _, r := range rules {
		list = append(list, fmt.Sprintf("%q", r))
	}
	return parse(
		t, `{"name":"p","users":["alice"],"actions":[""],"deny":[`+strings.Join(list, ",")+`]}`,
	)
}

var alice = policy.Identity{User: "alice"}

// plainCreate is the body with which the docker client creates a container without options.
const plainCreate = `{"Image":"x","Volumes":{"/a":{},"/A":{}},"HostConfig":{
	"Binds":null,"Mounts":[],"NetworkMode":"default","PidMode":"","IpcMode":"","UTSMode":"",
	"UsernsMode":"","CapAdd":null,"CapDrop":null,"Devices":[],"DeviceRequests":null,
	"DeviceCgroupRules":null,"SecurityOpt":null,
	"Privileged":false,"MaskedPaths":null,"ReadonlyPaths":null,"VolumeDriver":"","VolumesFrom":null,
	"Tmpfs":{"/a":"","/A":""}},"NetworkingConfig":{"EndpointsConfig":{}}}`

func TestDeny(t *testing.T) {
	const (
		create = "POST /v1.44/containers/create?name=x"
		exec   = "POST /v1.44/containers/x/exec"
		update = "POST /v1.44/containers/x/update"
		volume = "POST /v1.44/volumes/create"
	)
	all := allButRemap
	for _, c := range []struct{ rules, request, body, want string }{
		// A container without options, as the docker client creates it.
		{all, create, plainCreate, ""},
		{
			"privileged", create, `{"HostConfig":{"Privileged":true}}`,
			`policy "p" denies "container_create": "privileged": Privileged is set`,
		},
		{"capabilities:CHOWN", create, `{"HostConfig":{"Privileged":true}}`, "Privileged is set"},
		{"devices", create, `{"HostConfig":{"Privileged":true}}`, "Privileged is set"},
		{"pid", create, `{"HostConfig":{"Privileged":true}}`, ""},
		{"pid", create, `{"HostConfig":{"PidMode":"host"}}`, `PidMode is "host"`},
		{"pid", create, `{"HostConfig":{"PidMode":"container:x"}}`, `PidMode is "container:x"`},
		{"binds", create, `{"HostConfig":{"Tmpfs":{"/x":"rw,rbind"}}}`, `Tmpfs has the option "rbind"`},
		{
			"security-options", create, `{"HostConfig":{"Tmpfs":{"/sys/.":"remount,rw"}}}`,
			`Tmpfs has the option "remount"`,
		},
		{all, create, `{"HostConfig":{"Tmpfs":{"/x":"rw,size=1m,exec"}}}`, ""},
		{"net", create, `{"HostConfig":{"NetworkMode":"host"}}`, `NetworkMode is "host"`},
		{"net", create, `{"HostConfig":{"NetworkMode":"hosted"}}`, ""},
		{"net", create, `{"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}`, "the host's network"},
		{"ipc", create, `{"HostConfig":{"IpcMode":"host"}}`, `IpcMode is "host"`},
		{"ipc", create, `{"HostConfig":{"IpcMode":"shareable"}}`, ""},
		{"uts", create, `{"HostConfig":{"UTSMode":"host"}}`, `UTSMode is "host"`},
		{"user", create, `{"HostConfig":{"UsernsMode":"host"}}`, `UsernsMode is "host"`},
		{"uts ipc", create, `{"HostConfig":{"UsernsMode":"host"}}`, ""},
		{"cgroupns", create, `{"HostConfig":{"CgroupnsMode":"host"}}`, `CgroupnsMode is "host"`},
		{"cgroupns", create, `{"HostConfig":{"CgroupnsMode":"private"}}`, ""},
		{"sysctls", create, `{"HostConfig":{"Sysctls":{"net.x":"1"}}}`, "Sysctls is set"},
		{"runtime", create, `{"HostConfig":{"Runtime":"runc"}}`, "Runtime is set"},
		{"volumes-from", create, `{"HostConfig":{"VolumesFrom":["x"]}}`, "VolumesFrom is set"},
		{"hooks", create, `{"HostConfig":{"Annotations":{"a":"b"}}}`, `Annotations has "a"`},
		{"rootfs volumes-from sysctls", create, `{"HostConfig":{"Binds":["/home:/h"]}}`, ""},
		// Bind mounts.
		{"binds", create, `{"HostConfig":{"Binds":["/home:/h"]}}`, `"binds": Binds has "/home:/h"`},
		{"binds", create, `{"HostConfig":{"Binds":["data:/h:ro"]}}`, ""},
		{"binds", create, `{"HostConfig":{"Binds":["/:/h:ro"]}}`, `Binds has "/:/h:ro"`},
		{
			"binds", volume, `{"DriverOpts":{"type":"none","device":"/home","o":"bind"}}`,
			`device is "/home"`,
		},
		{
			"binds", create, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x"}]}}`,
			`Mounts has "/etc"`,
		},
		{
			"binds", create, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"etc","Target":"/x"}]}}`,
			`Mounts has "etc"`,
		},
		{
			"binds", create,
			`{"HostConfig":{"Mounts":[{"Type":"tmpfs"},{"Type":"image"},{"Type":"volume"}]}}`, "",
		},
		{
			"binds", create, `{"HostConfig":{"Mounts":[{"Type":"npipe","Source":"/home"}]}}`,
			`the type "npipe"`,
		},
		{"binds", create, `{"HostConfig":{"Mounts":[null]}}`, `the type ""`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"data"}]}}`, ""},
		{
			"binds", create,
			`{"HostConfig":{"Mounts":[{"Type":"volume",` +
				`"VolumeOptions":{"DriverConfig":{"Options":{"type":"none","o":"bind","device":"/"}}}}]}}`,
			`device is "/"`,
		},
		{
			"binds", create,
			`{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"plug"}}}]}}`,
			`volume driver "plug"`,
		},
		{"binds", create, `{"HostConfig":{"VolumesFrom":["x"]}}`, "VolumesFrom is set"},
		{"binds", create, `{"HostConfig":{"VolumeDriver":"plug"}}`, `volume driver "plug"`},
		{"binds", volume, `{"Name":"x"}`, ""},
		{"binds", volume, `{"Driver":"plug"}`, `volume driver "plug"`},
		{
			"binds", volume,
			`{"Driver":"local","DriverOpts":{"type":"tmpfs","device":"tmpfs","o":"size=1m"}}`, "",
		},
		{
			"binds", volume, `{"DriverOpts":{"type":"none","device":"/","o":"bind"}}`,
			`the volume's device is "/"`,
		},
		{
			"binds", volume, `{"DriverOpts":{"type":"tmpfs","device":"/etc","o":"rw, RBIND"}}`,
			`the volume's device is "/etc"`,
		},
		{"binds", volume, `{"DriverOpts":{"type":"ext4","device":"/dev/sda"}}`, `type is "ext4"`},
		{"privileged", volume, ``, ""},
		{"devices", create, `{"HostConfig":{"Devices":[{"PathOnHost":"/dev/sda"}]}}`, "Devices is set"},
		{"devices", create, `{"HostConfig":{"DeviceRequests":[{}]}}`, "DeviceRequests is set"},
		{
			"devices", create, `{"HostConfig":{"DeviceCgroupRules":["a *:* rwm"]}}`,
			"DeviceCgroupRules is set",
		},
		{"devices", update, `{"Devices":[{}]}`, "Devices is set"},
		{"devices", update, `{"Memory":1}`, ""},
		{"devices", update, ``, "did not send"},
		{"binds", update, ``, ""},
		{
			"capabilities", create, `{"HostConfig":{"CapAdd":["CHOWN"]}}`, `the capability "CHOWN" is added`,
		},
		{"capabilities", create, `{"HostConfig":{"CapAdd":"CHOWN"}}`, `the capability "CHOWN" is added`},
		{
			"capabilities", create, `{"HostConfig":{"Capabilities":["CHOWN"]}}`,
			`the capability "CHOWN" is added`,
		},
		{"capabilities:SYS_ADMIN", create, `{"HostConfig":{"CapAdd":["CHOWN"]}}`, ""},
		{"capabilities:cap_sys_admin", create, `{"HostConfig":{"CapAdd":["CAP_SYS_ADMIN"]}}`, "is added"},
		{"capabilities:SYS_ADMIN", create, `{"HostConfig":{"CapAdd":["all"]}}`, `"all" is added`},
		{
			"security-options", create, `{"HostConfig":{"SecurityOpt":["seccomp=unconfined"]}}`,
			`SecurityOpt has "seccomp=unconfined"`,
		},
		{"security-options", create, `{"HostConfig":{"SecurityOpt":["no-new-privileges"]}}`, ""},
		{"security-options", create, `{"HostConfig":{"MaskedPaths":[]}}`, "MaskedPaths or ReadonlyPaths"},
		{
			"security-options", create,
			`{"HostConfig":{"Annotations":{"run.oci.seccomp_bpf_data":"BgAAAAAA/38="}}}`,
			`Annotations has "run.oci.seccomp_bpf_data"`,
		},
		{
			"security-options", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, "",
		},
		{"no-user-remap", "POST /build", ``, "the containers of a build have no user remap"},
		{"no-user-remap", create, `{"HostConfig":{}}`, `annotation "palisade.user-remap" is missing`},
		{
			"no-user-remap", create,
			`{"HostConfig":{"Annotations":{"palisade.user-remap":"100000:100000:65535"}}}`, "",
		},
		{
			"no-user-remap", create,
			`{"HostConfig":{"Annotations":{"palisade.user-remap":"0:100000:65535"}}}`, "does not map root",
		},
		{
			"no-user-remap", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"1"}}}`,
			`user remap "1"`,
		},
		{
			"no-user-remap", create,
			`{"HostConfig":{"Runtime":"runc","Annotations":{"palisade.user-remap":"1:1:1"}}}`,
			"Runtime is set",
		},
		{
			"no-user-remap", "POST /v1.41/containers/create",
			`{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, "API version 1.43",
		},
		{
			"no-user-remap", "POST /containers/create",
			`{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, "API version 1.43",
		},
		{"privileged", exec, `{"Cmd":["sh"]}`, ""},
		{"privileged", exec, `{"Privileged":true}`, "Privileged is set"},
		{"capabilities:CHOWN", exec, `{"privileged":true}`, "Privileged is set"},
		{"devices", exec, `{"Privileged":true}`, "Privileged is set"},
		{"devices", exec, `{"Cmd":["sh"]}`, ""},
		{"devices", exec, ``, "did not send"},
		{"security-options", exec, `{"Privileged":true}`, "Privileged is set"},
		{"privileged", exec, ``, "did not send"},
		{"binds", exec, ``, ""},
		// Ambiguous bodies.
		{"privileged", create, ``, "did not send"},
		{"privileged", create, `{"Privileged":true}`, "Privileged is set"},
		{"privileged", create, `{"hostconfig":{"PRIVILEGED":true}}`, "Privileged is set"},
		{"privileged", create, `{"ho\u017ftConfig":{"Privileged":true}}`, "Privileged is set"},
		{"privileged", create, `{"HostConfig":{"Privileged":true},"HostConfig":{}}`, "duplicate key"},
		{"privileged", create, `{"HostConfig":{},"hostConfig":{"Privileged":true}}`, "duplicate key"},
		{"privileged", create, `{"HostConfig":{"Privileged":true,"privileged":false}}`, "duplicate key"},
		{"privileged", create, `{"Image":"a","Image":"b"}`, `duplicate key "Image"`},
		{"privileged", create, `{"HostConfig":{"Privileged":"false"}}`, "parse the body"},
		{"privileged", create, `{"HostConfig":{"Binds":{}}}`, "parse the body"},
		{"privileged", create, `{"HostConfig":[]}`, "parse the body"},
		{"privileged", create, `{"HostConfig":null}`, ""},
		{"privileged", create, `{} {"HostConfig":{"Privileged":true}}`, "data after the JSON value"},
		{"privileged", create, `{"HostConfig":{`, "parse the body"},
		{"privileged", create, `[]`, "parse the body"},
		{"privileged", create, `null`, ""},
		{"privileged", create, strings.Repeat("[", 100000), "nested deeper"},
		{"privileged", create, "\xff\xfe{}", "parse the body"},
		{"privileged", create, `{"Labels":{"x":"` + strings.Repeat("x", policy.MaxBody-100) + `"}}`, ""},
		{
			"privileged", create, `{"x":[` + strings.Repeat("1,", policy.MaxBody/2) + `1]}`,
			"the body is larger than 1 MiB",
		},
		// Requests that could bypass the rules.
		{"binds", "POST /v1.23/containers/x/start", `{"Binds":["/:/h"]}`, "API versions before 1.24"},
		{"binds", "POST /v1.4.4/containers/create", `{}`, "API versions before 1.24"},
		{"binds", "POST /v1.44/containers/x/start", ``, ""},
		{"binds", "POST /containers/x/start", ``, ""},
		{"pid", "POST /services/create", `{}`, `"service_create" could bypass`},
		{"pid", "POST /plugins/pull?remote=x", `[]`, `"plugin_pull" could bypass`},
		{"pid", "POST /v1.44/grpc", ``, `"image_build_grpc" could bypass`},
		{"pid", "POST /no/such", ``, "the request is unknown"},
		{"net", "POST /build", ``, "network of a build"},
		{"pid", "POST /build?networkmode=host", ``, ""},
		{"pid", "POST /swarm/join", `{}`, `"swarm_join" could bypass`},
		{"pid", "GET /v1.44/swarm", ``, `"swarm_inspect" could bypass`},
		{"pid", "POST /nodes/x/update", `{}`, `"node_update" could bypass`},
		{"pid", "POST /containers/x/checkpoints", `{}`, `"container_checkpoint_create" could bypass`},
		{"pid", "POST /containers/x/start?checkpoint=c&checkpoint-dir=/x", ``, "content of a checkpoint"},
		{"pid", "POST /containers/x/start?detachKeys=a&check%70oint=c", ``, "content of a checkpoint"},
		{"pid", "POST /containers/x/start?detachKeys=ctrl-a", ``, ""},
		{all, "GET /containers/json", ``, ""},
	} {
		method, uri, _ := strings.Cut(c.request, " ")
		r := policy.DockerRequest(method, uri, []byte(c.body))
		d := denying(t, strings.Fields(c.rules)...).Decide(alice, r)
		if d.Allow != (c.want == "") || !strings.Contains(d.Explain(), c.want) {
			t.Errorf("%s, %s, %.300s: %v, %s; want %q",
				c.rules, c.request, c.body, d.Allow, d.Explain(), c.want)
		}
	}
}

// TestDenyOfIsulad checks that rules which need a body refuse iSulad's requests, which have none.
func TestDenyOfIsulad(t *testing.T) {
	for name, denied := range map[string]string{
		"container_create": "privileged devices", "container_exec_create": "privileged devices",
		"container_update": "devices", "container_start": "", "container_list": "",
	} {
		r := policy.ActionRequest(action.ForIsulad(name), nil)
		for _, rule := range []string{"privileged", "devices"} {
			d := denying(t, rule).Decide(alice, r)
			if d.Allow == strings.Contains(denied, rule) {
				t.Errorf("%s, %s: %+v", rule, name, d)
			}
		}
	}
}

// TestRemovedRules checks that the error about a removed rule names the rule to write instead.
func TestRemovedRules(t *testing.T) {
	for _, r := range []string{"binds:/etc", "binds:/", "binds:etc", "binds:"} {
		text := fmt.Appendf(nil, `{"users":["a"],"actions":[""],"deny":["pid",%q]}`, r)
		_, err := policy.Parse("f", text)
		want := fmt.Sprintf("f:1: the rule %q does not protect a path", r)
		if err == nil || !strings.HasPrefix(err.Error(), want) ||
			!strings.Contains(err.Error(), `write "binds"`) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

func TestBadRules(t *testing.T) {
	for rules, want := range map[string]string{
		"root":             `unknown rule "root"; want one of privileged`,
		"":                 "unknown rule",
		"capabilities:":    "names no capability",
		"capabilities:ALL": "names no capability",
		"pid:x":            "takes no argument",
		"Privileged":       "unknown rule",
	} {
		_, err := policy.Parse("f", fmt.Appendf(nil, `{"users":["a"],"actions":[""],"deny":[%q]}`, rules))
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "f:1: ") {
			t.Errorf("%s: %v", rules, err)
		}
	}
}

// FuzzExamine checks that no body gets a container what is denied, as the engine parses it.
func FuzzExamine(f *testing.F) {
	for _, body := range []string{
		`{"HostConfig":{"Privileged":true}}`, `{"privileged":true}`, `{`, `{}{}`,
		`{"HostConfig":{},"HostConfig":{"Privileged":true}}`,
	} {
		f.Add([]byte(body))
	}
	const text = `{"users":["a"],"actions":[""],"deny":["privileged","pid","binds"]}`
	s, err := policy.Parse("f", []byte(text))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := policy.DockerRequest("POST", "/containers/create", body)
		if s.Decide(policy.Identity{User: "a"}, r).Allow && !isHarmless(body) {
			t.Errorf("%q is allowed", body)
		}
	})
}
