package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"palisade/internal/authz/policy"
)

// message returns a protobuf message with the given strings as fields 1, 2, ...; "" is left out.
func message(values ...string) (m []byte) {
	for i, value := range values {
		if value != "" {
			m = protowire.AppendTag(m, protowire.Number(i+1), protowire.BytesType)
			m = protowire.AppendString(m, value)
		}
	}
	return m
}

// isulaHost and isulaCustom are what isula sends for a container without options.
const (
	isulaHost = `{"NetworkMode":"","PidMode":"","Privileged":false,"Devices":[],"CapAdd":[],` +
		`"UserRemap":"","Runtime":"runc","ShmSize":0,"RestartPolicy":{"Name":"no"}}`
	isulaCustom = `{"Cmd":["sh"],"Tty":true,"SystemContainer":false}`
)

func TestIsuladDeny(t *testing.T) {
	service := "/containers.ContainerService/"
	create := func(host, custom string) (string, []byte) {
		return service + "Create", message("id", "", "busybox", "", host, custom)
	}
	host := func(text string) func() (string, []byte) {
		return func() (string, []byte) { return create(text, isulaCustom) }
	}
	custom := func(text string) func() (string, []byte) {
		return func() (string, []byte) { return create(isulaHost, text) }
	}
	request := func(method string, m []byte) func() (string, []byte) {
		return func() (string, []byte) { return service + method, m }
	}
	all := "privileged pid net ipc uts user binds devices capabilities security-options"
	for _, c := range []struct {
		rules   string
		request func() (string, []byte)
		want    string
	}{
		{all, host(isulaHost), ""},
		{
			"privileged", host(`{"Privileged":true}`),
			`policy "p" denies "container_create": "privileged": Privileged is set`,
		},
		{"devices", host(`{"Privileged":true}`), "Privileged is set"},
		{"pid", host(`{"PidMode":"host"}`), `PidMode is "host"`},
		{"pid", host(`{"PidMode":"/proc/1/ns/pid"}`), `PidMode is "/proc/1/ns/pid"`},
		{"net", host(`{"NetworkMode":"container:x"}`), `NetworkMode is "container:x"`},
		{"net", host(`{"NetworkMode":"bridge"}`), ""},
		{"cgroupns", host(`{"CgroupnsMode":"host"}`), `CgroupnsMode is "host"`},
		{"volumes-from", host(`{"VolumesFrom":["x"]}`), "VolumesFrom is set"},
		{"sysctls", host(`{"Sysctls":{"net.a":"1"}}`), "Sysctls is set"},
		{"sysctls", custom(`{"NsChangeOpt":"net"}`), "NsChangeOpt is set"},
		{"rootfs", host(`{"ExternalRootfs":"/x"}`), `the root file system is "/x"`},
		{
			"runtime", request("Create", message("x", "", "i", "kata", isulaHost, isulaCustom)),
			"Runtime is set",
		},
		{"user", host(`{"UsernsMode":"host"}`), `UsernsMode is "host"`},
		{"binds", host(`{"Binds":["/etc:/x"]}`), `Binds has "/etc:/x"`},
		{"binds", host(`{"Binds":["data:/x"]}`), ""},
		{"binds", host(`{"Mounts":[{"Type":"bind","Source":"/"}]}`), `Mounts has "/"`},
		{"binds", host(`{"VolumesFrom":["x"]}`), "VolumesFrom is set"},
		{"binds", custom(`{"Mounts":["type=bind,src=/,dst=/x"]}`), "customconfig.Mounts has"},
		{"binds", host(`{"ExternalRootfs":"/"}`), `the root file system is "/"`},
		{
			"binds", request("Create", message("x", "/", "", "", isulaHost, isulaCustom)),
			`the root file system is "/"`,
		},
		{"binds", host(`{"HostChannel":{"PathOnHost":"/x"}}`), "HostChannel is set"},
		{"binds", host(`{"HostChannel":null}`), ""},
		{"binds", host(`{"EnvTargetFile":"/x"}`), "EnvTargetFile is set"},
		{"devices", host(`{"Devices":[{"PathOnHost":"/dev/sda"}]}`), "Devices is set"},
		{"devices", host(`{"DeviceCgroupRules":["a *:* rwm"]}`), "DeviceCgroupRules is set"},
		{"devices", host(`{"CdiRequestedDevices":["x"]}`), "CdiRequestedDevices"},
		{"devices", host(`{"NriDevices":[{}]}`), "NriDevices"},
		{"capabilities", host(`{"CapAdd":["CHOWN"]}`), `"CHOWN" is added`},
		{"capabilities:SYS_BOOT", host(`{"SystemContainer":true}`), "adds the capability SYS_BOOT"},
		{"capabilities:SYS_ADMIN", host(`{"SystemContainer":true}`), ""},
		{"capabilities", custom(`{"SystemContainer":true}`), "adds the capability SYS_BOOT"},
		{"security-options", host(`{"SystemContainer":true}`), "allows more system calls"},
		{"security-options", host(`{"NoPivotRoot":true}`), "NoPivotRoot"},
		{"security-options", host(`{"NsChangeFiles":["/proc/sys"]}`), "NsChangeFiles"},
		{"security-options", custom(`{"NsChangeOpt":"net"}`), "NsChangeOpt"},
		{"security-options", custom(`{"Annotations":{"ISULAD_RAMDISK":""}}`), "ISULAD_RAMDISK"},
		{"security-options", host(`{"SecurityOpt":["seccomp=unconfined"]}`), "seccomp=unconfined"},
		{"security-options", host(`{"SecurityOpt":["no-new-privileges"]}`), ""},
		{"no-user-remap", host(isulaHost), "UserRemap is missing"},
		{"no-user-remap", host(`{"UserRemap":"100000:100000:65535","Runtime":"lcr"}`), ""},
		{"no-user-remap", host(`{"UserRemap":"0:100000:65535"}`), "does not map root"},
		{"no-user-remap", host(`{"UserRemap":"1"}`), `user remap "1"`},
		{
			"no-user-remap runtime", host(`{"UserRemap":"1:1:1","Runtime":"ignored"}`), "",
		},
		{
			"no-user-remap", request("Create",
				message("x", "", "i", "kata", `{"UserRemap":"1:1:1","Runtime":"runc"}`, "{}")),
			`the runtime "kata" may ignore`,
		},
		{"no-user-remap", host(`{"UserRemap":"1:1:1","UsernsMode":"host"}`), "UsernsMode"},
		// What runs or writes files of the host, whatever the rule.
		{"net", host(`{"HookSpec":"{}"}`), "HookSpec is set"},
		{"net", custom(`{"Annotations":{"log.console.file":"/etc/x"}}`), "log.console.file"},
		{"net", custom(`{"Annotations":{"log.console.filesize":"1MB"}}`), ""},
		{"net", request("Export", message("x", "/etc/passwd")), "any file of the host"},
		{"net", request("Start", message("x", "", "", "/etc/passwd")), `the path "/etc/passwd"`},
		{"net", request("Start", message("x", "", "", "/run/isula/x/stdout")), ""},
		{"net", request("Start", message("x", "/var/run/isula/../../../etc/x")), "the path"},
		{"net", request("Exec", message("x", "", "", "", "", "", "/etc/shadow")), "the path"},
		{"net", request("Exec", append(message("x"), message([]string{9: "a", 10: "b"}...)...)), ""},
		{"net", request("RemoteExec", []byte(`{"stdout":"/etc/x"}`)), `the path "/etc/x"`},
		{"net", request("RemoteExec", []byte(`{"container_id":"x","argv":["sh"]}`)), ""},
		{"net", request("RemoteStart", nil), ""},
		{"net", request("Update", message("x", `{"HookSpec":"x"}`)), "HookSpec is set"},
		{"devices", request("Update", message("x", `{"Devices":[{}]}`)), "Devices is set"},
		{"devices", request("Update", message("x", `{"Memory":1}`)), ""},
		{"no-user-remap", request("Update", message("x", `{"Memory":1}`)), ""},
		{"net", request("Update", nil), "did not send"},
		{"net", request("New", nil), "the request is unknown"},
		// Texts that iSulad might parse differently.
		{"privileged", host(`{"Privileged":true,"Privileged":false}`), `duplicate key "Privileged"`},
		{"privileged", host(`{"Privileged\u0000":true}`), "a string contains NUL"},
		{"net", host(`{"NetworkMode":"host\u0000x"}`), "a string contains NUL"},
		{"net", host("{\"NetworkMode\":\"\"}\x00{}"), "field 5 contains NUL"},
		{"privileged", host(`{/*x*/"Privileged":false}`), "parse hostconfig"},
		{"privileged", host(`{"Privileged":"true"}`), "parse hostconfig"},
		{"privileged", host(`{"privileged":false}`), `parse hostconfig: unknown key "privileged"`},
		{"privileged", host(`null`), ""},
		{"privileged", host(`[]`), "parse hostconfig"},
		{"privileged", custom(`{"New":1}`), `parse customconfig: unknown key "New"`},
		{"privileged", request("RemoteExec", []byte(`{"privileged":true}`)), "isulad-remote-exec"},
		{"privileged", host(``), "parse hostconfig"},
		{"privileged", custom(`{"Cmd":["a"],"Cmd":["b"]}`), `customconfig: duplicate key "Cmd"`},
		{
			"privileged", request("Create", append(message("", "", "", "", isulaHost, isulaCustom),
				message([]string{4: `{"Privileged":true}`}...)...)), "field 5 is repeated",
		},
		{"privileged", request("Create", []byte{5 << 3, 1}), "field 5 is not a string"},
		{"privileged", request("Create", []byte{5<<3 | 2, 9, 'x'}), "parse the message"},
		{"privileged", request("Create", []byte{0xaa, 0x80, 0x80, 0x80, 0x10, 0}), "parse the message"},
		{"privileged", request("Create", []byte{0xff}), "parse the message"},
	} {
		method, body := c.request()
		d := denying(t, strings.Fields(c.rules)...).Decide(alice, policy.IsuladRequest(method, body))
		if d.Allow != (c.want == "") || !d.Allow && !strings.Contains(d.Explain(), c.want) {
			t.Errorf("%s: %s %q: %s; want %q", c.rules, method, body, d.Explain(), c.want)
		}
	}
}

func TestIsuladCRI(t *testing.T) {
	for method, want := range map[string]bool{
		"/runtime.v1.RuntimeService/RunPodSandbox":         false,
		"/runtime.v1alpha2.RuntimeService/CreateContainer": false,
		"/runtime.v1.RuntimeService/CheckpointContainer":   false,
		"/runtime.v1.RuntimeService/ListContainers":        true,
		"/runtime.v1.RuntimeService/ExecSync":              true,
	} {
		d := denying(t, "privileged").Decide(alice, policy.IsuladRequest(method, nil))
		if d.Allow != want {
			t.Errorf("%s: %s", method, d.Explain())
		}
	}
}

func TestIsuladOwn(t *testing.T) {
	set := parse(t, `{"name":"p","users":["alice"],"actions":[""],"own":true}`)
	d := set.Decide(alice, policy.IsuladRequest("/containers.ContainerService/List", nil))
	if d.Allow || !strings.Contains(d.Explain(), "for Docker and Podman") {
		t.Error(d.Explain())
	}
}

// FuzzIsuladCreate makes sure that no message which is allowed asks for what a rule denies.
func FuzzIsuladCreate(f *testing.F) {
	f.Add(message("x", "", "busybox", "runc", isulaHost, isulaCustom))
	f.Add(message("x", "/", "", "", `{"Privileged":true}`, `{"Annotations":{"a":"b"}}`))
	f.Add([]byte{5<<3 | 2, 2, '{', '}', 6<<3 | 2, 2, '{', '}'})
	set, err := policy.Parse("f",
		[]byte(`{"name":"p","users":["alice"],"actions":[""],"deny":["privileged"]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		d := set.Decide(alice, policy.IsuladRequest("/containers.ContainerService/Create", m))
		if !d.Allow {
			return
		}
		for rest := m; len(rest) > 0; {
			number, kind, n := protowire.ConsumeTag(rest)
			size := protowire.ConsumeFieldValue(number, kind, rest[n:])
			if text, _ := protowire.ConsumeBytes(rest[n:]); number == 5 {
				var host map[string]any
				if json.Unmarshal(text, &host) != nil || host["Privileged"] == true {
					t.Errorf("%q is allowed", m)
				}
			}
			rest = rest[n+size:]
		}
	})
}
