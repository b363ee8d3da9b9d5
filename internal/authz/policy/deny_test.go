package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// denying is a set with one policy that grants alice everything but what a "deny" list says.
func denying(t *testing.T, rules ...string) *policy.Set {
	t.Helper()
	var list []string
	for _, r := range rules {
		list = append(list, fmt.Sprintf("%q", r))
	}
	return parse(t, `{"name":"p","users":["alice"],"actions":[""],"deny":[`+strings.Join(list, ",")+`]}`)
}

var alice = policy.Identity{User: "alice"}

func TestDeny(t *testing.T) {
	const (
		create = "POST /v1.44/containers/create?name=x"
		exec   = "POST /v1.44/containers/x/exec"
		update = "POST /v1.44/containers/x/update"
		volume = "POST /v1.44/volumes/create"
	)
	all := "privileged pid net ipc uts user binds devices capabilities security-options"
	for _, c := range []struct{ rules, request, body, want string }{
		// What the client sends for a container that asks for nothing.
		{all, create, `{"Image":"x","Volumes":{"/a":{},"/A":{}},"HostConfig":{"Binds":null,"Mounts":[],"NetworkMode":"default","PidMode":"","IpcMode":"","UTSMode":"",
			"UsernsMode":"","CapAdd":null,"CapDrop":null,"Devices":[],"DeviceRequests":null,"DeviceCgroupRules":null,"SecurityOpt":null,"Privileged":false,
			"MaskedPaths":null,"ReadonlyPaths":null,"VolumeDriver":"","VolumesFrom":null,"Tmpfs":{"/a":"","/A":""}},"NetworkingConfig":{"EndpointsConfig":{}}}`, ""},
		{"privileged", create, `{"HostConfig":{"Privileged":true}}`, `policy "p" denies some of "container_create": "privileged": Privileged is set`},
		{"capabilities:CHOWN", create, `{"HostConfig":{"Privileged":true}}`, "Privileged is set"},
		{"devices", create, `{"HostConfig":{"Privileged":true}}`, "Privileged is set"},
		{"pid", create, `{"HostConfig":{"Privileged":true}}`, ""},
		{"pid", create, `{"HostConfig":{"PidMode":"host"}}`, `PidMode is "host"`},
		{"pid", create, `{"HostConfig":{"PidMode":"container:x"}}`, `PidMode is "container:x"`},
		{"net", create, `{"HostConfig":{"NetworkMode":"host"}}`, `NetworkMode is "host"`},
		{"net", create, `{"HostConfig":{"NetworkMode":"hosted"}}`, ""},
		{"net", create, `{"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}`, "the host's network"},
		{"ipc", create, `{"HostConfig":{"IpcMode":"host"}}`, `IpcMode is "host"`},
		{"ipc", create, `{"HostConfig":{"IpcMode":"shareable"}}`, ""},
		{"uts", create, `{"HostConfig":{"UTSMode":"host"}}`, `UTSMode is "host"`},
		{"user", create, `{"HostConfig":{"UsernsMode":"host"}}`, `UsernsMode is "host"`},
		{"uts ipc", create, `{"HostConfig":{"UsernsMode":"host"}}`, ""},
		// Bind mounts in all their shapes.
		{"binds", create, `{"HostConfig":{"Binds":["/home:/h"]}}`, `"binds": Binds has "/home:/h"`},
		{"binds", create, `{"HostConfig":{"Binds":["data:/h:ro"]}}`, ""},
		{"binds", create, `{"HostConfig":{"Binds":["/:/h:ro"]}}`, `Binds has "/:/h:ro"`},
		{"binds", volume, `{"DriverOpts":{"type":"none","device":"/home","o":"bind"}}`, `device is "/home"`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x"}]}}`, `Mounts has "/etc"`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"etc","Target":"/x"}]}}`, `Mounts has "etc"`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"tmpfs"},{"Type":"image"},{"Type":"volume"}]}}`, ""},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"npipe","Source":"/home"}]}}`, `the type "npipe"`},
		{"binds", create, `{"HostConfig":{"Mounts":[null]}}`, `the type ""`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"data"}]}}`, ""},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Options":{"type":"none","o":"bind","device":"/"}}}}]}}`, `device is "/"`},
		{"binds", create, `{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"plug"}}}]}}`, `volume driver "plug"`},
		{"binds", create, `{"HostConfig":{"VolumesFrom":["x"]}}`, "VolumesFrom is given"},
		{"binds", create, `{"HostConfig":{"VolumeDriver":"plug"}}`, `volume driver "plug"`},
		{"binds", volume, `{"Name":"x"}`, ""},
		{"binds", volume, `{"Driver":"plug"}`, `volume driver "plug"`},
		{"binds", volume, `{"Driver":"local","DriverOpts":{"type":"tmpfs","device":"tmpfs","o":"size=1m"}}`, ""},
		{"binds", volume, `{"DriverOpts":{"type":"none","device":"/","o":"bind"}}`, `the volume's device is "/"`},
		{"binds", volume, `{"DriverOpts":{"type":"tmpfs","device":"/etc","o":"rw, RBIND"}}`, `the volume's device is "/etc"`},
		{"binds", volume, `{"DriverOpts":{"type":"ext4","device":"/dev/sda"}}`, `type "ext4"`},
		{"privileged", volume, ``, ""},
		{"devices", create, `{"HostConfig":{"Devices":[{"PathOnHost":"/dev/sda"}]}}`, "Devices are asked for"},
		{"devices", create, `{"HostConfig":{"DeviceRequests":[{}]}}`, "DeviceRequests are made"},
		{"devices", create, `{"HostConfig":{"DeviceCgroupRules":["a *:* rwm"]}}`, "DeviceCgroupRules are given"},
		{"devices", update, `{"Devices":[{}]}`, "Devices are asked for"},
		{"devices", update, `{"Memory":1}`, ""},
		{"devices", update, ``, "did not arrive"},
		{"binds", update, ``, ""},
		{"capabilities", create, `{"HostConfig":{"CapAdd":["CHOWN"]}}`, `the capability "CHOWN" is added`},
		{"capabilities", create, `{"HostConfig":{"CapAdd":"CHOWN"}}`, `the capability "CHOWN" is added`},
		{"capabilities", create, `{"HostConfig":{"Capabilities":["CHOWN"]}}`, `the capability "CHOWN" is added`},
		{"capabilities:SYS_ADMIN", create, `{"HostConfig":{"CapAdd":["CHOWN"]}}`, ""},
		{"capabilities:cap_sys_admin", create, `{"HostConfig":{"CapAdd":["CAP_SYS_ADMIN"]}}`, "is added"},
		{"capabilities:SYS_ADMIN", create, `{"HostConfig":{"CapAdd":["all"]}}`, `"all" is added`},
		{"security-options", create, `{"HostConfig":{"SecurityOpt":["seccomp=unconfined"]}}`, `SecurityOpt has "seccomp=unconfined"`},
		{"security-options", create, `{"HostConfig":{"SecurityOpt":["no-new-privileges"]}}`, ""},
		{"security-options", create, `{"HostConfig":{"MaskedPaths":[]}}`, "MaskedPaths or ReadonlyPaths"},
		{"security-options", create, `{"HostConfig":{"Annotations":{"run.oci.seccomp_bpf_data":"BgAAAAAA/38="}}}`, `Annotations has "run.oci.seccomp_bpf_data"`},
		{"security-options", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, ""},
		{"no-user-remap", "POST /build", ``, "the containers of a build have no user remap"},
		{"no-user-remap", create, `{"HostConfig":{}}`, "no user remap is asked for"},
		{"no-user-remap", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"100000:100000:65535"}}}`, ""},
		{"no-user-remap", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"0:100000:65535"}}}`, "leaves root as it is"},
		{"no-user-remap", create, `{"HostConfig":{"Annotations":{"palisade.user-remap":"1"}}}`, "want uid:gid:offset"},
		{"no-user-remap", create, `{"HostConfig":{"Runtime":"runc","Annotations":{"palisade.user-remap":"1:1:1"}}}`, "Runtime is given"},
		{"no-user-remap", "POST /v1.41/containers/create", `{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, "API version 1.43"},
		{"no-user-remap", "POST /containers/create", `{"HostConfig":{"Annotations":{"palisade.user-remap":"1:1:1"}}}`, "API version 1.43"},
		{"privileged", exec, `{"Cmd":["sh"]}`, ""},
		{"privileged", exec, `{"Privileged":true}`, "Privileged is set"},
		{"capabilities:CHOWN", exec, `{"privileged":true}`, "Privileged is set"},
		{"devices", exec, `{"Privileged":true}`, "Privileged is set"},
		{"devices", exec, `{"Cmd":["sh"]}`, ""},
		{"devices", exec, ``, "did not arrive"},
		{"security-options", exec, `{"Privileged":true}`, "Privileged is set"},
		{"privileged", exec, ``, "did not arrive"},
		{"binds", exec, ``, ""},
		// Bodies that might be read in two ways.
		{"privileged", create, ``, "did not arrive"},
		{"privileged", create, `{"Privileged":true}`, "Privileged is set"},
		{"privileged", create, `{"hostconfig":{"PRIVILEGED":true}}`, "Privileged is set"},
		{"privileged", create, `{"ho\u017ftConfig":{"Privileged":true}}`, "Privileged is set"},
		{"privileged", create, `{"HostConfig":{"Privileged":true},"HostConfig":{}}`, "comes twice"},
		{"privileged", create, `{"HostConfig":{},"hostConfig":{"Privileged":true}}`, "comes twice"},
		{"privileged", create, `{"HostConfig":{"Privileged":true,"privileged":false}}`, "comes twice"},
		{"privileged", create, `{"Image":"a","Image":"b"}`, `comes twice: "Image"`},
		{"privileged", create, `{"HostConfig":{"Privileged":"false"}}`, "is not clear"},
		{"privileged", create, `{"HostConfig":{"Binds":{}}}`, "is not clear"},
		{"privileged", create, `{"HostConfig":[]}`, "is not clear"},
		{"privileged", create, `{"HostConfig":null}`, ""},
		{"privileged", create, `{} {"HostConfig":{"Privileged":true}}`, "more behind"},
		{"privileged", create, `{"HostConfig":{`, "is not clear"},
		{"privileged", create, `[]`, "is not clear"},
		{"privileged", create, `null`, ""},
		{"privileged", create, strings.Repeat("[", 100000), "nested deeper"},
		{"privileged", create, "\xff\xfe{}", "is not clear"},
		{"privileged", create, `{"Labels":{"x":"` + strings.Repeat("x", 500<<10) + `"}}`, ""},
		{"privileged", create, `{"x":[` + strings.Repeat("1,", 512<<9) + `1]}`, "the body is larger than 512 KiB"},
		// Other ways.
		{"binds", "POST /v1.23/containers/x/start", `{"Binds":["/:/h"]}`, "API versions before 1.24"},
		{"binds", "POST /v1.4.4/containers/create", `{}`, "API versions before 1.24"},
		{"binds", "POST /v1.44/containers/x/start", ``, ""},
		{"binds", "POST /containers/x/start", ``, ""},
		{"pid", "POST /services/create", `{}`, `"service_create" can do what`},
		{"pid", "POST /plugins/pull?remote=x", `[]`, `"plugin_pull" can do what`},
		{"pid", "POST /v1.44/grpc", ``, `"image_build_grpc" can do what`},
		{"pid", "POST /no/such", ``, "it is not known what the request does"},
		{"net", "POST /build", ``, "options of a build"},
		{"pid", "POST /build?networkmode=host", ``, ""},
		{"pid", "POST /swarm/join", `{}`, `"swarm_join" can do what`},
		{"pid", "GET /v1.44/swarm", ``, `"swarm_inspect" can do what`},
		{"pid", "POST /nodes/x/update", `{}`, `"node_update" can do what`},
		{"pid", "POST /containers/x/checkpoints", `{}`, `"container_checkpoint_create" can do what`},
		{"pid", "POST /containers/x/start?checkpoint=c&checkpoint-dir=/x", ``, "a checkpoint is not known"},
		{"pid", "POST /containers/x/start?detachKeys=a&check%70oint=c", ``, "a checkpoint is not known"},
		{"pid", "POST /containers/x/start?detachKeys=ctrl-a", ``, ""},
		{all, "GET /containers/json", ``, ""},
	} {
		method, uri, _ := strings.Cut(c.request, " ")
		r := policy.DockerRequest(method, uri, []byte(c.body))
		d := denying(t, strings.Fields(c.rules)...).Decide(alice, r)
		text := d.Explain()
		if d.Allow != (c.want == "") || !strings.Contains(text, c.want) {
			t.Errorf("%s, %s, %.300s: %v, %s; want %q", c.rules, c.request, c.body, d.Allow, text, c.want)
		}
	}
}

// TestDenyOfIsulad makes sure that what iSulad asks for by name alone is refused where a rule would look at the body.
func TestDenyOfIsulad(t *testing.T) {
	for name, denied := range map[string]string{
		"container_create": "privileged devices", "container_exec_create": "privileged devices",
		"container_update": "devices", "container_start": "", "container_list": "",
	} {
		for _, rule := range []string{"privileged", "devices"} {
			d := denying(t, rule).Decide(alice, policy.ActionRequest(action.OfIsulad(name), nil))
			if d.Allow == strings.Contains(denied, rule) {
				t.Errorf("%s, %s: %+v", rule, name, d)
			}
		}
	}
}

// TestRemovedRules checks that a policy file with a removed rule is refused, and that the error
// names the rule to write instead.
func TestRemovedRules(t *testing.T) {
	for _, r := range []string{"binds:/etc", "binds:/", "binds:etc", "binds:"} {
		_, err := policy.Parse("f", fmt.Appendf(nil, `{"users":["a"],"actions":[""],"deny":["pid",%q]}`, r))
		want := fmt.Sprintf("f:1: the rule %q does not protect a path", r)
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), `write "binds"`) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

func TestBadRules(t *testing.T) {
	for rules, want := range map[string]string{
		"root": `the rule "root" is none of privileged`, "": "is none of", "capabilities:": "names no capability", "capabilities:ALL": "names no capability",
		"pid:x": "takes nothing behind its name", "Privileged": "is none of",
	} {
		_, err := policy.Parse("f", fmt.Appendf(nil, `{"users":["a"],"actions":[""],"deny":[%q]}`, rules))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f:1: ") {
			t.Errorf("%s: %v", rules, err)
		}
	}
}

// FuzzExamine makes sure that no body gives a container what is denied, as encoding/json reads it.
func FuzzExamine(f *testing.F) {
	for _, body := range []string{`{"HostConfig":{"Privileged":true}}`, `{"privileged":true}`, `{"HostConfig":{},"HostConfig":{"Privileged":true}}`, `{`, `{}{}`} {
		f.Add([]byte(body))
	}
	s, err := policy.Parse("f", []byte(`{"users":["a"],"actions":[""],"deny":["privileged","pid","binds"]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := policy.DockerRequest("POST", "/containers/create", body)
		if got, want := s.Decide(policy.Identity{User: "a"}, r).Allow, isHarmless(body); got && !want {
			t.Errorf("%q is allowed", body)
		}
	})
}
