package policy_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

const allRules = "privileged pid net ipc uts user cgroupns binds volumes-from rootfs devices " +
	"capabilities security-options sysctls runtime hooks no-user-remap"

// TestPodmanClient checks which rules deny requests that were captured from a client.
func TestPodmanClient(t *testing.T) {
	text, err := os.ReadFile("testdata/podman-4.3.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		method, uri, _ := strings.Cut(fields[1], " ")
		r := policy.PodmanRequest(method, uri, []byte(fields[2]))
		if !r.Action().Known {
			t.Errorf("%s is unknown", fields[1])
		}
		var denied, texts []string
		for _, rule := range strings.Fields(allRules) {
			d := denying(t, rule).Decide(alice, r)
			if !d.Allow {
				denied, texts = append(denied, rule), append(texts, d.Explain())
			}
		}
		want := fields[0]
		if want == "all" {
			want = allRules
		}
		if got := strings.Join(denied, " "); got != want {
			t.Errorf("%.60s, %.300s: denied by %q, want %q; %q", fields[1], fields[2], got, want, texts)
		}
	}
}

func TestPodmanDeny(t *testing.T) {
	const (
		create = "POST /v4.3.1/libpod/containers/create"
		compat = "POST /v1.41/containers/create"
		pod    = "POST /v4.3.1/libpod/pods/create"
		update = "POST /v5.2.0/libpod/containers/x/update"
		volume = "POST /v4.3.1/libpod/volumes/create"
		build  = "POST /v4.3.1/libpod/build"
		docker = "POST /v1.41/build"
	)
	for _, c := range []struct{ rules, request, body, want string }{
		// Docker's requests, as Podman understands them.
		{allButRemap, compat, plainCreate, ""},
		{"no-user-remap", compat, plainCreate, `UsernsMode is "", want auto`},
		{"no-user-remap", compat, `{"HostConfig":{"UsernsMode":"auto:size=100"}}`, ""},
		{"no-user-remap", compat, `{"HostConfig":{"UsernsMode":"auto:uidmapping=0:0:1"}}`, "want auto"},
		{"privileged", compat, `{"HostConfig":{"Privileged":true}}`, "Privileged is set"},
		{"pid", compat, `{"HostConfig":{"PidMode":"ns:/proc/1/ns/pid"}}`, `PidMode is "ns:/proc`},
		{"net", compat, `{"HostConfig":{"NetworkMode":"ns:/proc/1/ns/net"}}`, `NetworkMode is "ns:/p`},
		{"net", compat, `{"HostConfig":{"NetworkMode":"pod"}}`, `NetworkMode is "pod"`},
		{"net", compat, `{"HostConfig":{"NetworkMode":"slirp4netns:allow_host_loopback=true"}}`, "slirp"},
		{"net", compat, `{"HostConfig":{"NetworkMode":"bridge:ip=10.88.0.9"}}`, ""},
		{"net", compat, `{"HostConfig":{"NetworkMode":"mine"}}`, ""},
		{"ipc", compat, `{"HostConfig":{"IpcMode":"pod"}}`, `IpcMode is "pod"`},
		{"user", compat, `{"HostConfig":{"UsernsMode":"keep-id"}}`, `UsernsMode is "keep-id"`},
		{"cgroupns", compat, `{"HostConfig":{"CgroupnsMode":"host"}}`, `CgroupnsMode is "host"`},
		{"binds", compat, `{"HostConfig":{"Binds":["./x:/y"]}}`, `Binds has "./x"`},
		{"binds", compat, `{"HostConfig":{"Binds":["v:/y:O,upperdir=/etc,workdir=/w"]}}`, "upperdir"},
		{"binds", compat, `{"HostConfig":{"Binds":["v:/y:ro,Z,U"]}}`, ""},
		{"binds", compat, `{"Volumes":{"/etc:/y":{}}}`, `Volumes has "/etc"`},
		{"binds", compat, `{"volumes":{"/y":{}}}`, ""},
		{
			"binds", compat, `{"HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/x,type=bind,source=/"}]}}`,
			"parse as several options",
		},
		{
			"binds", compat,
			`{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"Subpath":"a,source=/"}}]}}`,
			"parse as several options",
		},
		{"binds", compat, `{"HostConfig":{"LogConfig":{"Config":{"path":"/etc/x"}}}}`, "LogConfig has"},
		{"binds", compat, `{"HostConfig":{"Tmpfs":{"/x":"rw,rbind"}}}`, `Tmpfs has the option "rbind"`},
		{"volumes-from", compat, `{"HostConfig":{"VolumesFrom":["x"]}}`, "VolumesFrom is set"},
		{"sysctls", compat, `{"HostConfig":{"Sysctls":{"a":"b"}}}`, "Sysctls is set"},
		{"runtime", compat, `{"HostConfig":{"Runtime":"kata"}}`, "Runtime is set"},
		{"hooks", compat, `{"HostConfig":{"Annotations":{"a":"b"}}}`, `Annotations has "a"`},
		{"devices", "POST /containers/x/update", `{"Devices":[{}]}`, "Devices is set"},
		{"pid", "POST /v1.20/containers/x/start", ``, ""},
		// libpod's: what one rule forbids the others permit.
		{"privileged", create, `{"Privileged":true}`, `"privileged": privileged is set`},
		{"pid", create, `{"privileged":true}`, ""},
		{"pid", create, `{"pidns":{"nsmode":"path","value":"/proc/1/ns/pid"}}`, `pidns is "path:/proc`},
		{"pid", create, `{"PIDNS":{"NSMODE":"host"}}`, `pidns is "host"`},
		{"pid", create, `{"pidns":{"nsmode":"private","NSMode":"host"}}`, "duplicate key"},
		{"pid", create, `{"pidns":{"n\u017fmode":"host"}}`, `pidns is "host"`},
		{"pid", create, `{"pidns":"host"}`, "pidns cannot be parsed"},
		{"pid", create, `{"pidns":{},"Pidns":{"nsmode":"host"}}`, "duplicate key"},
		{"privileged", create, `{"privileged":false,"PRIVILEGED":true}`, "duplicate key"},
		{"privileged", create, `{"\u017fysctl":{"a":"b"},"sysctl":{}}`, "duplicate key"},
		{"user", create, `{"userns":{"nsmode":"no-map"}}`, ""},
		{"user", create, `{"idmappings":{"UIDMap":[{"container_id":0,"host_id":0,"size":9}]}}`, "explicit id maps"},
		{
			"user", create, `{"idmappings":{"AutoUserNsOpts":{"AdditionalGIDMappings":[{"size":1}]}}}`,
			"explicit id maps",
		},
		{"net", create, `{"network_options":{"pasta":["--pcap","/etc/x"]}}`, "network_options is set"},
		{"binds", create, `{"network_options":{"pasta":["--pcap","/etc/x"]}}`, "network_options is set"},
		{"binds", create, `{"mounts":[{"type":"tmpfs","source":"/etc","options":["RBind"]}]}`, "RBind"},
		{"security-options", create, `{"mounts":[{"type":"tmpfs","options":["remount"]}]}`, "remount"},
		{"binds", create, `{"mounts":[{"type":"tmpfs","options":["size=1m"]}]}`, ""},
		{"binds", create, `{"mounts":[{"type":"","source":"/etc"}]}`, `mounts has "/etc"`},
		{"security-options", create, `{"mounts":[{"type":"proc","source":"proc"}]}`, `type "proc"`},
		{"security-options", create, `{"mounts":[{"type":"bind","source":"/etc"}]}`, ""},
		{"binds", create, `{"volumes":[{"Name":"v","Dest":"/y","Options":["upperdir=/x"]}]}`, "upperdir"},
		{"binds", create, `{"volumes":[{"Name":"../etc","Dest":"/y"}]}`, `volumes has "../etc"`},
		{"binds", create, `{"overlay_volumes":[{"source":"/etc"}]}`, "overlay_volumes is set"},
		{"binds", create, `{"timezone":"../../../etc/shadow"}`, "timezone is"},
		{"binds", create, `{"timezone":"Europe/Berlin"}`, ""},
		{"binds", create, `{"healthLogDestination":"/etc"}`, "healthlogdestination is"},
		{"binds", create, `{"base_hosts_file":"/etc/shadow"}`, "base_hosts_file is"},
		{"binds", create, `{"log_configuration":{"driver":"k8s-file","options":{"Path":"/x"}}}`, "path"},
		{"rootfs", create, `{"rootfs":"/home/x"}`, "rootfs is set"},
		{"rootfs", create, `{"init_path":"/etc/shadow"}`, "init_path is set"},
		{"rootfs", create, `{"chroot_directories":["/x"]}`, "chroot_directories is set"},
		{"devices", create, `{"resource_limits":{"Devices":[{"allow":true}]}}`, "has devices"},
		{"devices", create, `{"resource_limits":{"memory":{"limit":1}}}`, ""},
		{"devices", create, `{"cgroups_mode":"disabled"}`, `cgroups_mode is "disabled"`},
		{"capabilities:SYS_ADMIN", create, `{"cap_add":["CHOWN"]}`, ""},
		{"capabilities:SYS_ADMIN", create, `{"cap_add":["all"]}`, `"all" is added`},
		{"security-options", create, `{"seccomp_profile_path":"unconfined"}`, `is "unconfined"`},
		{"security-options", create, `{"unmask":["ALL"]}`, "unmask is set"},
		{"security-options", create, `{"annotations":{"run.oci.seccomp_bpf_data":"x"}}`, "may be"},
		{"hooks", create, `{"annotations":{"io.kubernetes.cri-o.TTY":"true"}}`, ""},
		{
			"pid", create, `{"annotations":{"io.podman.annotations.cid-file":"/etc/passwd"}}`,
			`"pid": annotations has a cidfile`,
		},
		{"hooks", create, `{"annotations":{"io.podman.annotations.cid-file":"/x"}}`, "has a cidfile"},
		{"pid", create, `{"annotations":{"a":"b"}}`, ""},
		{"pid", compat, `{"HostConfig":{"ContainerIDFile":"/etc/passwd"}}`, "has a cidfile"},
		{
			"pid", compat, `{"HostConfig":{"Annotations":{"io.podman.annotations.cid-file":"/x"}}}`,
			"has a cidfile",
		},
		{"pid", compat, `{"HostConfig":{"ContainerIDFile":""}}`, ""},
		{"runtime", create, `{"oci_runtime":"/x"}`, "oci_runtime is set"},
		{"privileged", create, `{"env_host":true}`, `"env_host" is unknown`},
		{"privileged", create, `{"new_in_podman_7":1}`, `"new_in_podman_7" is unknown`},
		{"privileged", create, `{"new_in_podman_7":false}`, ""},
		{"privileged", create, `[]`, "parse the body"},
		{"privileged", create, ``, "did not send"},
		{"no-user-remap", create, `{"userns":{"nsmode":"auto"}}`, ""},
		{"no-user-remap", create, `{"annotations":{"palisade.user-remap":"1:1:1"}}`, ""},
		{"no-user-remap", create, `{"annotations":{"palisade.user-remap":"0:1:1"}}`, "does not map root"},
		{
			"no-user-remap", create, `{"oci_runtime":"crun","annotations":{"palisade.user-remap":"1:1:1"}}`,
			"oci_runtime is set",
		},
		{"no-user-remap", create, `{"pod":"x","userns":{"nsmode":"auto"}}`, "pod is set"},
		{"pid", pod, `{"pidns":{"nsmode":"host"}}`, `pidns is "host"`},
		{"devices", pod, `{"pod_devices":["/dev/sda"]}`, "pod_devices is set"},
		{"security-options", pod, `{"security_opt":["no-new-privileges"]}`, ""},
		{"binds", pod, `{"infra_conmon_pid_file":"/etc/x"}`, "infra_conmon_pid_file is set"},
		{"binds", pod, `{"serviceContainerID":"x"}`, "is unknown"},
		{"devices", update, `{"devices":[{"allow":true}]}`, "devices is set"},
		{"binds", update, `{"health_log_destination":"/etc"}`, "health_log_destination is"},
		{"binds", update, `{"memory":{"limit":1},"BlkIOWeightDevice":null,"Env":["A=b"]}`, ""},
		{"pid", update, `{"devices":[{}]}`, ""},
		{"binds", volume, `{"Options":{"type":"none","device":"/","o":"bind"}}`, `device is "/"`},
		{"binds", volume, `{"Options":{"O":"bind","device":"/etc"}}`, "not in lower case"},
		{"binds", volume, `{"Options":{"type":"tmpfs","device":"--fstab=/x"}}`, "an option of mount(8)"},
		{
			"binds", compat, `{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":` +
				`{"Options":{"type":"tmpfs","device":"-T/x"}}}}]}}`, "an option of mount(8)",
		},
		{
			"binds", volume, `{"Options":{"type":"cifs","device":"//a/b","o":"ro,credentials=/etc/x"}}`,
			"is a file of the host",
		},
		{"binds", volume, `{"Options":{"type":"tmpfs","device":"tmpfs","o":"size=1m,uid=1"}}`, ""},
		{"binds", volume, `{"Driver":"local","Options":{}}`, ""},
		{"devices", "POST /v4.3.1/libpod/containers/x/exec", `{"Privileged":true}`, "Privileged is set"},
		// Builds.
		{allButRemapAndNet, build, ``, ""},
		{
			allButRemapAndNet,
			docker + "?t=x&q=1&version=1&dockerfile=sub/Dockerfile&networkmode=host", ``, "",
		},
		{"net", docker, ``, "network of a build"},
		{"binds", build + "?volume=/etc:/x", ``, `"binds": volume in the query is set`},
		{"binds", docker + "?Volume=/etc:/x", ``, "is set"},
		{"binds", docker + "?volume=&volume=/etc:/x", ``, "is set"},
		{"binds", docker + "?%76olume=/etc:/x", ``, "is set"},
		{"pid", build + "?volume=/etc:/x", ``, ""},
		{"pid", build + "?new=1", ``, `"new" in the query is unknown`},
		{"pid", build + "?new=0", ``, ""},
		{"pid", build + "?a;b=1", ``, "parse the query"},
		{"pid", build + `?nsoptions=[{"Name":"pid","Host":true}]`, ``, "nsoptions in the query has"},
		{"cgroupns", build + `?nsoptions=[{"Name":"cgroup","Host":true}]`, ``, "nsoptions in the query"},
		{"user", build + `?nsoptions=[{"Name":"user","Host":true}]`, ``, ""},
		{"user", build + `?nsoptions=[{"Name":"user","Path":"/x"}]`, ``, "nsoptions in the query has"},
		{"pid", build + "?nsoptions=x", ``, "cannot be parsed"},
		{"pid", build + "?isolation=chroot", ``, "isolation in the query is not oci"},
		{"pid", build + "?isolation=2", ``, "isolation in the query is not oci"},
		{"pid", build + "?isolation=1", ``, ""},
		{"binds", build + "?remote=/etc", ``, "remote in the query is not"},
		{"binds", build + "?remote=https://x/y.git", ``, ""},
		{"binds", build + "?remote=https://x/y.git%23main", ``, ""},
		{"binds", build + "?remote=https://x/y.git%23main:../../etc", ``, "has a directory"},
		{"binds", build + "?remote=git://x/y%23:link", ``, "has a directory"},
		{"binds", build + `?dockerfile=["/etc/shadow"]`, ``, "not in the build context"},
		{"binds", build + `?dockerfile=["../../etc/shadow"]`, ``, "not in the build context"},
		{"binds", build + `?dockerfile=["x","Containerfile.in/."]`, ``, "for the C preprocessor"},
		{"binds", build + "?dockerfile=Dockerfile.in", ``, "for the C preprocessor"},
		{"binds", build + "?dockerfile=Dockerfile.inc", ``, ""},
		{"pid", build + `?CPPFlags=["-wrapper","touch,/x"]`, ``, "CPPFlags in the query is set"},
		{"pid", build + "?cppflags=[]", ``, ""},
		{"binds", build + "?t=x:1&t=docker-archive:/etc/x", ``, "t in the query is not in a registry"},
		{"binds", build + "?from=dir:/etc&t=localhost:5000/x:1", ``, "from in the query is not"},
		{"binds", build + `?secrets=["id=a,src=podman-build-secret1"]`, ``, "secrets in the query is"},
		{"binds", build + `?secrets=[]`, ``, ""},
		{"hooks", build + `?annotations=["run.oci.handler=krun"]`, ``, "annotations in the query is"},
		{"binds", build + "?output=type=local,dest=/etc", ``, "output in the query may be"},
		{"security-options", build + "?seccomp=unconfined", ``, "not the default profile"},
		{"capabilities:CHOWN", build + `?addcaps=["ALL"]`, ``, "addcaps in the query is set"},
		{"user", build + `?idmappingoptions={"UIDMap":[{}]}`, ``, "explicit id maps"},
		// Other ways to the host.
		{"binds", "POST /v4.3.1/libpod/images/import?url=/etc/x.tar", ``, "url in the query is not"},
		{"binds", "POST /v4.3.1/libpod/images/import?URL=http://x/y.tar", ``, ""},
		{"binds", "POST /images/create?fromSrc=/etc/x.tar", ``, "fromSrc in the query is not"},
		{"binds", "POST /images/create?fromSrc=-", ``, ""},
		{"binds", "POST /images/create?fromImage=docker-archive:/x", ``, "is not in a registry"},
		{"binds", "POST /images/create?fromImage=alpine:latest&tag=", ``, ""},
		{"binds", "POST /v1.41/images/x/push?destination=docker-archive:/etc/x", ``, "not in a registry"},
		{"binds", "POST /v1.41/images/x/push?Destination=dir:/etc", ``, "not in a registry"},
		{"binds", "POST /v4.3.1/libpod/images/x/push?destination=registry:5000/x", ``, ""},
		{"pid", "POST /v1.41/networks/create", `{"Driver":"../../x"}`, `the network is "../../x"`},
		{"pid", "POST /v4.3.1/libpod/networks/create", `{"driver":"bridge"}`, ""},
		{"binds", create, `{"image":"containers-storage:[vfs@/x]y"}`, "image is not in a registry"},
		{"binds", compat, `{"Image":"dir:/x"}`, "Image is not in a registry"},
		{"binds", "PUT /v4.3.1/libpod/manifests/x", `{}`, "could be files of the host"},
		{"binds", "POST /v4.3.1/libpod/manifests/x", `{}`, "could be files of the host"},
		{"pid", "POST /v4.3.1/libpod/secrets/create?driver=shell", ``, "may run commands"},
		{"pid", "POST /v4.3.1/libpod/secrets/create?driverOpts={\"path\":\"/\"}", ``, "is set"},
		{"pid", "POST /v4.3.1/libpod/secrets/create?name=x", ``, ""},
		{"pid", "POST /v4.3.1/libpod/kube/play", ``, `"libpod_kube_play" could bypass`},
		{"pid", "POST /v5.7.0/libpod/kube/apply", ``, "could bypass"},
		{"pid", "POST /v5.7.0/libpod/quadlets", ``, "could bypass"},
		{"pid", "POST /v5.7.0/libpod/volumes/x/import", ``, "could bypass"},
		{"pid", "POST /v4.3.1/libpod/images/scp/x", ``, "could bypass"},
		{"pid", "POST /v4.3.1/libpod/containers/x/restore", ``, "could bypass"},
		{"pid", "POST /v5.7.0/libpod/local/build", ``, "could bypass"},
		{"pid", "POST /v5.7.0/libpod/local/images/load", ``, "could bypass"},
		{"pid", "POST /v5.7.0/libpod/artifacts/local/add", ``, "could bypass"},
		{"pid", "POST /v4.3.1/no/such", ``, "the request is unknown"},
		{allRules, "GET /v4.3.1/libpod/containers/json", ``, ""},
	} {
		method, uri, _ := strings.Cut(c.request, " ")
		r := policy.PodmanRequest(method, uri, []byte(c.body))
		d := denying(t, strings.Fields(c.rules)...).Decide(alice, r)
		if d.Allow != (c.want == "") || !strings.Contains(d.Explain(), c.want) {
			t.Errorf("%s, %s, %.300s: %v, %s; want %q",
				c.rules, c.request, c.body, d.Allow, d.Explain(), c.want)
		}
	}
}

var (
	allButRemap       = strings.TrimSuffix(allRules, " no-user-remap")
	allButRemapAndNet = strings.Replace(allButRemap, " net ", " ", 1)
)

// TestNeedsBody checks that NeedsBody names the actions whose bodies rules ask for.
func TestNeedsBody(t *testing.T) {
	var asked []string
	for _, engine := range []action.Engine{action.Docker, action.Podman} {
		for _, a := range action.List(engine) {
			r := policy.ActionRequest(a, nil)
			if engine == action.Podman {
				r = policy.PodmanAction(a, nil)
			}
			asks := denying(t, strings.Fields(allRules)...).Decide(alice, r).Reason == policy.NoBody
			if asks {
				asked = append(asked, a.Name)
			}
		}
	}
	for _, name := range action.Names() {
		if slices.Contains(asked, name) != policy.NeedsBody(action.Action{Name: name}) {
			t.Errorf("%s: NeedsBody is %v", name, !slices.Contains(asked, name))
		}
	}
}

// FuzzLibpod checks that no body of libpod gets a container what is denied.
func FuzzLibpod(f *testing.F) {
	for _, body := range []string{
		`{"privileged":true}`, `{"pidns":{"nsmode":"host"}}`, `{"mounts":[{"type":"bind","source":"/"}]}`,
		`{"volumes":[{"Name":"/"}]}`, `{`, `{}{}`, `{"privileged":false,"Privileged":true}`,
	} {
		f.Add([]byte(body))
	}
	const text = `{"users":["a"],"actions":[""],"deny":["privileged","pid","binds"]}`
	s, err := policy.Parse("f", []byte(text))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := policy.PodmanRequest("POST", "/v4.3.1/libpod/containers/create", body)
		if s.Decide(policy.Identity{User: "a"}, r).Allow && !isHarmlessSpec(body) {
			t.Errorf("%q is allowed", body)
		}
	})
}
