package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// examples are the seven policy files of iSulad's manual.
var examples = []string{
	`{"name":"policy_0","users":[""],"actions":[""]}`,
	`{"name":"policy_1","users":["alice"],"actions":[""]}`,
	`{"name":"policy_2","users":[""],"actions":[""]}`,
	`{"name":"policy_3","users":["alice","bob"],"actions":["container_create"]}`,
	`{"name":"policy_4","users":["service_account"],"actions":["container_logs","container_top"]}`,
	`{"name":"policy_5","users":["alice"],"actions":["container"]}`,
	`{"name":"policy_5","users":["alice"],"actions":["container"], "readonly":true}`,
}

func parse(t *testing.T, text string) *policy.Set {
	t.Helper()
	s, err := policy.Parse("policy.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	const (
		list    = "GET /v1.44/containers/json"
		create  = "POST /containers/create"
		logs    = "GET /containers/x/logs?stdout=1"
		socket  = "GET /containers/x/attach/ws"
		images  = "GET /images/json"
		extract = "PUT /containers/x/archive?path=/"
		archive = "GET /containers/x/archive?path=/"
		unknown = "GET /no/such/thing"
	)
	groups := `{"name":"all","groups":["admins"],"actions":["^.*$"],"readonly":true}
{"name":"alice","users":["alice"],"groups":["ops"],"actions":["container_archive"],"exact":true}

{"name":"rest","users":[""],"actions":["docker_"]}
{"name":"late","users":["bob"],"actions":[""]}`
	for _, c := range []struct {
		file, user, group, request string
		allow                      bool
		reason                     policy.Reason
	}{
		{examples[0], "", "", create, true, policy.Granted},
		{examples[0], "carol", "", unknown, true, policy.Granted},
		{examples[1], "alice", "", images, true, policy.Granted},
		{examples[1], "bob", "", images, false, policy.NoPolicy},
		{examples[1], "", "", images, false, policy.NoPolicy},
		{examples[1], "Alice", "", images, false, policy.NoPolicy},
		{examples[3], "bob", "", create, true, policy.Granted},
		{examples[3], "bob", "", list, false, policy.NotGranted},
		{examples[4], "service_account", "", logs, true, policy.Granted},
		{examples[4], "service_account", "", socket, false, policy.NotGranted},
		{examples[5], "alice", "", extract, true, policy.Granted},
		{examples[5], "alice", "", images, false, policy.NotGranted},
		{examples[5], "alice", "", unknown, false, policy.Unknown},
		{examples[6], "alice", "", list, true, policy.Granted},
		{examples[6], "alice", "", create, false, policy.NotRead},
		{examples[6], "alice", "", socket, false, policy.NotRead},
		{"", "alice", "", list, false, policy.NoPolicy},
		{groups, "alice", "", archive, true, policy.Granted},
		{groups, "alice", "", extract, false, policy.NotGranted},
		{groups, "alice", "admins", list, true, policy.Granted},
		{groups, "alice", "admins", unknown, false, policy.NotRead},
		{groups, "carol", "ops", archive, true, policy.Granted},
		{groups, "carol", "admins", extract, false, policy.NotRead},
		{groups, "carol", "none", "GET /info", true, policy.Granted},
		{groups, "bob", "", list, false, policy.NotGranted}, // the line for every user comes first
		{groups, "admins", "", list, false, policy.NotGranted},
	} {
		method, uri, _ := strings.Cut(c.request, " ")
		id := policy.Identity{User: c.user, Groups: []string{c.group}}
		d := parse(t, c.file).Decide(id, policy.DockerRequest(method, uri, nil))
		if d.Allow != c.allow || d.Reason != c.reason ||
			d.Allow != (d.Reason == policy.Granted && d.Policy != nil) {
			t.Errorf("%s\nuser %q, group %q, %s: %+v, want %v, reason %d",
				c.file, c.user, c.group, c.request, d, c.allow, c.reason)
		}
		if text := d.Explain(); text == "" || strings.Contains(text, "%!") {
			t.Errorf("explained as %q", text)
		}
	}
}

// TestIdentities looks up the policies of clients with the same names in certificates, on the host
// and of containers.
func TestIdentities(t *testing.T) {
	s := parse(t, `{"name":"user","users":["alice"],"actions":[""]}
{"name":"unix user","unix_users":["alice","root"],"actions":[""]}
{"name":"group","groups":["dev"],"actions":[""]}
{"name":"unix group","unix_groups":["dev","alice"],"actions":[""]}
{"name":"container","containers":["alice","role=dev"],"actions":[""]}
{"name":"local","local":true,"actions":[""]}`)
	labelled := &policy.Container{Name: "web", Labels: map[string]string{"role": "dev"}}
	for _, tt := range []struct {
		id   policy.Identity
		want string
	}{
		{policy.Identity{User: "alice"}, "user"},
		{policy.Identity{User: "alice", Groups: []string{"dev"}}, "user"},
		{policy.Identity{User: "bob", Groups: []string{"ops", "dev"}}, "group"},
		{policy.Identity{User: "root"}, ""},
		{policy.Identity{User: "role=dev"}, ""},
		{policy.Identity{UnixUser: "alice"}, "unix user"},
		{policy.Identity{UnixUser: "alice", UnixGroups: []string{"alice"}}, "unix user"},
		{policy.Identity{UnixUser: "bob", UnixGroups: []string{"bob", "dev"}}, "unix group"},
		{policy.Identity{UnixUser: "dev"}, ""},
		{policy.Identity{Container: &policy.Container{Name: "alice"}}, "container"},
		{policy.Identity{Container: &policy.Container{Name: "dev"}}, ""},
		{policy.Identity{Container: labelled}, "container"},
		// A process in a container is not a user of the host, whatever its uid.
		{policy.Identity{Container: &policy.Container{Name: "web"}, UnixUser: "root"}, ""},
		{policy.Identity{Container: &policy.Container{}}, ""},
		{policy.Identity{Local: true}, "local"},
		{policy.Identity{}, ""},
	} {
		got := ""
		if p := s.Decide(tt.id, policy.DockerRequest("GET", "/info", nil)).Policy; p != nil {
			got = p.Name
		}
		if got != tt.want {
			t.Errorf("%+v: policy %q, want %q", tt.id, got, tt.want)
		}
	}
	everyone := parse(t, `{"name":"all","users":[""],"actions":[""]}`+"\n"+
		`{"name":"unix","unix_users":["alice"],"actions":[""]}`)
	r := policy.DockerRequest("GET", "/info", nil)
	if d := everyone.Decide(policy.Identity{UnixUser: "alice"}, r); d.Policy.Name != "all" {
		t.Errorf("the first line is for every user, but %q applies", d.Policy.Name)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{
			`{"name":"a","users":["x"],"actions":["*"]}`,
			`policy.json:1: the pattern "*" is not a regular expression; write "" to grant all`,
		},
		{
			"\n\n" + `{"users":["x"],"actions":["("]}`,
			`policy.json:3: the pattern "(" is not a regular expression`,
		},
		{`{"users":["x"],"actions":["a)(?:b"],"exact":true}`, `is not a regular expression`},
		{`{"users":["x"],"actions":[""],"readonly":"true"}`, `"readonly" is "true", want true or false`},
		{`{"users":["x"],"actions":[""],"readonly":null}`, `"readonly" is null, want true or false`},
		{`{"users":"x","actions":[""]}`, `"users" is "x", want a list of strings`},
		{`{"users":["x",null],"actions":[""]}`, `want a list of strings`},
		{`{"users":[1],"actions":[""]}`, `want a list of strings`},
		{`{"users":null,"actions":[""]}`, `want a list of strings`},
		{`{"name":1,"users":["x"],"actions":[""]}`, `"name" is 1, want a string`},
		{`{"users":["x"],"users":["y"],"actions":[""]}`, `duplicate key "users"`},
		{`{"Users":["x"],"actions":[""]}`, `unknown key "Users"`},
		{`{"users":["x"],"actions":[""],"read_only":true}`, `unknown key "read_only"`},
		{`{"users":["x"]}`, `"actions" is missing`},
		{`{"groups":[""],"actions":[""]}`, `a group has no name`},
		{`{"actions":[""]}`, `the policy has no clients`},
		{`{"unix_users":[""],"actions":[""]}`, `unix user, unix group or container has no name`},
		{`{"containers":["x",""],"actions":[""]}`, `container has no name`},
		{`{"unix_users":["x","x"],"actions":[""]}`, `unix user "x" is already listed in line 1`},
		{`{"containers":["x"],"unix_groups":"x","actions":[""]}`, `want a list of strings`},
		{`{"users":["x"],"own":"true","actions":[""]}`, `"own" is "true", want true or false`},
		{`{"users":["x","x"],"actions":[""]}`, `user "x" is already listed in line 1`},
		{
			`{"users":["x"],"actions":[""]}` + "\n" + `{"users":["y","x"],"actions":[""]}`,
			`policy.json:2: user "x" is already listed in line 1`,
		},
		{
			`{"groups":["x"],"actions":[""]}` + "\n" + `{"groups":["x"],"actions":[""]}`,
			`policy.json:2: group "x" is already listed in line 1`,
		},
		{`[]`, `a policy is a JSON object on one line`},
		{`{"users":["x"],`, `invalid JSON`},
		{`{"users":["x"],"actions":[""]} {}`, `unexpected "{}" after the policy`},
		{`{"users":["x"],"actions":[""]}}`, `unexpected "}" after the policy`},
		{`# comment`, `a policy is a JSON object on one line`},
		{`{“name”:“policy_0”,“users”:[""],“actions”:[""]}`, `invalid JSON`},
	} {
		s, err := policy.Parse("policy.json", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || s != nil {
			t.Errorf("%s\ngot %v, want %s", c.text, err, c.want)
		}
	}
}

func TestLint(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{
			`{"users":["x"],"actions":["container_inspect","container_logs","container_top","docker_ping"]}`,
			"",
		},
		{`{"users":["x"],"actions":["docker_info"]}`, "does not grant docker_ping"},
		{
			examples[4],
			`policy "policy_4" does not grant container_inspect, which isula top needs in addition to ` +
				`container_top`,
		},
		{
			`{"users":["x"],"actions":["container_logs","container_exec_create"],"readonly":true}`,
			`docker logs needs in addition to container_logs`,
		},
		{
			`{"users":["x"],"actions":["container"],"deny":["binds","pid"]}`,
			`denies "binds", "pid", but not "privileged": a privileged container`,
		},
		{
			`{"users":["x"],"actions":["swarm_inspect","docker_ping"]}`,
			`grants swarm_inspect, which disclose`,
		},
		{
			`{"users":["x"],"actions":[""],"readonly":true}`,
			`does not grant config_inspect, config_list, plugin_inspect, `,
		},
		{`{"users":["x"],"actions":["docker_info","docker_ping"],"deny":["binds"]}`, ""},
		{examples[1], "can become root on the host"},
		{examples[6], "but shows the content"},
		{
			examples[0] + "\n" + examples[1],
			`policy "policy_1" is never used: line 1 applies to every user`,
		},
		{
			`{"users":["x"],"actions":["container_archive"]}`,
			"also grants container_archive_extract, container_archive_info;",
		},
		{
			`{"users":["x"],"actions":["container_archive_info","container_archive","docker_info",` +
				`"docker_ping"],"exact":true}`,
			"",
		},
		{`{"users":["x"],"actions":["contaner_list"]}`, `"contaner_list" matches no known action`},
	} {
		warnings := parse(t, c.text).Lint()
		var texts []string
		for _, w := range warnings {
			texts = append(texts, w.Text)
		}
		all := strings.Join(texts, "\n")
		if (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s\ngot %q, want %q", c.text, all, c.want)
		}
	}
}

// TestLintPodman checks the warnings about what makes a user of Podman root on the host.
func TestLintPodman(t *testing.T) {
	for text, want := range map[string]string{
		`"actions":["pod"]`: "grants libpod_kube_apply, libpod_kube_play, libpod_local_artifact, " +
			"libpod_local_build, libpod_local_load, libpod_quadlet_install, libpod_scp, pod_create, with",
		`"actions":["pod"],"deny":["privileged"]`: "grants pod_create, with",
		`"actions":["^pod_"]`:                     "grants pod_create, with",
		`"actions":[""],"readonly":true`:          "pod_inspect, pod_top, volume_export",
	} {
		var texts []string
		for _, w := range parse(t, `{"users":["x"],`+text+`}`).Lint(action.Podman) {
			texts = append(texts, w.Text)
		}
		if all := strings.Join(texts, "\n"); !strings.Contains(all, want) {
			t.Errorf("%s: got %q, want %q", text, all, want)
		}
	}
}

// TestLintEngines checks that Lint warns only about the clients of the given engines.
func TestLintEngines(t *testing.T) {
	for _, c := range []struct {
		actions string
		engine  action.Engine
		want    string
	}{
		{`"container_list"`, action.Isulad, ""},
		{`"container_list"`, action.Docker, "does not grant docker_ping"},
		{
			`"container_create","container_start"`, action.Isulad, "can become root", // enough for run -d
		},
		{`"container_wait"`, action.Isulad, ""},
		{
			`"container_top"`, action.Isulad,
			"container_inspect, which isula top needs in addition to container_top",
		},
		{`"container_top","docker_ping"`, action.Docker, ""},
		{`"container_list","swarm_inspect"`, action.Isulad, ""},
		{`"container_list"`, action.Podman, "does not grant docker_ping, without which podman"},
		{`"container_list","docker_ping"`, action.Podman, ""},
		{`"secret_create","docker_ping"`, action.Podman, "grants secret_create, with which a user can"},
		{`"secret_create","docker_ping"`, action.Docker, ""},
		{`"secret_inspect","docker_ping"`, action.Podman, "grants secret_inspect, which disclose"},
		{
			`"container_kill","docker_ping"`, action.Podman,
			"container_list, container_inspect, which podman kill needs in addition to container_kill",
		},
	} {
		warnings := parse(t, `{"users":["x"],"actions":[`+c.actions+`],"exact":true}`).Lint(c.engine)
		if c.want == "" && len(warnings) == 0 {
			continue
		}
		if len(warnings) != 1 || c.want == "" || !strings.Contains(warnings[0].Text, c.want) {
			t.Errorf("%s with %s: got %+v, want %q", c.actions, c.engine, warnings, c.want)
		}
	}
}

func TestExplicitWarnings(t *testing.T) {
	for text, want := range map[string][]bool{
		`{"local":true,"actions":[""]}`:                                           {true},
		`{"users":["x"],"actions":[".*"]}`:                                        {true},
		`{"users":["x"],"actions":["container","docker_","volume"]}`:              {false, true},
		`{"users":["x"],"actions":["container","docker_"]}`:                       {false},
		`{"users":["x"],"actions":["docker_ping","swarm_inspect"]}`:               {false},
		`{"users":["x"],"actions":["container","docker_"],"readonly":true}`:       {true},
		`{"users":["x"],"actions":["container","contaner_list"],"readonly":true}`: {false, false, true},
	} {
		var got []bool
		for _, w := range parse(t, text).Lint() {
			got = append(got, w.Explicit)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v: %+v", text, got, want, parse(t, text).Lint())
		}
	}
}

func TestNoAllocation(t *testing.T) {
	const ruled = `{"users":["alice"],"actions":["container"],"deny":["binds"]}`
	for _, text := range []string{examples[5], ruled} {
		s, id := parse(t, text), policy.Identity{User: "alice", Groups: []string{"ops"}}
		decide := func() { s.Decide(id, policy.DockerRequest("POST", "/containers/x/exec", nil)) }
		if n := testing.AllocsPerRun(100, decide); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range examples {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := policy.Parse("f", text)
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if s != nil {
			s.Lint()
			id := policy.Identity{User: "alice", Groups: []string{"x"}}
			s.Decide(id, policy.ActionRequest(action.ForIsulad("pull"), nil))
		}
	})
}

// BenchmarkDecide measures routing and deciding a request.
func BenchmarkDecide(b *testing.B) {
	for _, policies := range []int{1, 1000} {
		b.Run(fmt.Sprintf("policies=%d", policies), func(b *testing.B) {
			var text strings.Builder
			for i := range policies - 1 {
				fmt.Fprintf(&text, `{"users":["user%d"],"actions":["container_%d"]}`+"\n", i, i)
			}
			s, err := policy.Parse("policy.json", []byte(text.String()+examples[5]))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				const uri = "/v1.44/containers/0123456789ab/exec?x=y"
				s.Decide(policy.Identity{User: "alice"}, policy.DockerRequest("POST", uri, nil))
			}
		})
	}
}
