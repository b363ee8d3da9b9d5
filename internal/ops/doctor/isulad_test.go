package doctor

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/toolkit"
)

// withIsulad returns the files of an iSulad with a configuration, and a hook for all containers.
func withIsulad(config string) files {
	return files{
		"/usr/bin/isulad": "", "/etc/isulad/daemon.json": config,
		"/etc/default/isulad/hooks/default.json": hookSpec,
	}
}

// withoutRemote is an edit that has iSulad be built without remote connections.
func withoutRemote(_ testing.TB, w *World) {
	w.Ask = answers("  -H, --host\n")
}

const (
	asks  = `"authorization-plugin":"authz-broker"`
	hosts = `"hosts":["unix:///var/run/isulad.sock","tcp://127.0.0.1:2375"]`
	tls   = hosts + `,"tls":true,"tls-verify":true`

	isuladJSON   = "/etc/isulad/daemon.json"
	isuladSocket = "/run/isulad/plugins/authz-broker.sock"
	defaultHooks = "/etc/default/isulad/hooks/default.json"
	sampleHooks  = "/var/lib/isulad/hooks/hookspec.json"
	twiceHooks   = `{"hook-spec":"` + defaultHooks + `","hook-spec":"` + sampleHooks + `"}`
)

var isuladAccessScenarios = []scenario{
	{name: "isulad asks a broker",
		files: withIsulad("{" + asks + "," + tls + "}"), edit: answering(isuladSocket),
		want: []string{"authz-client-says isulad"}},
	{name: "isulad asks a broker that is silent",
		files: withIsulad("{" + asks + "," + tls + "}"),
		want:  []string{"authz-client-says isulad", "authz-silent " + isuladSocket}},
	{name: "isulad asks none over TCP",
		files: withIsulad("{" + tls + "}"),
		want:  []string{"isulad-certificate-is-root " + isuladJSON},
		remedy: `put "authorization-plugin": "authz-broker" into /etc/isulad/daemon.json, ` +
			`or remove tcp://127.0.0.1:2375 from "hosts"`},
	{name: "isulad has no TCP address",
		files: withIsulad("{" + asks + `,"tls-verify":true}`), edit: answering(isuladSocket),
		want:   []string{"authz-never-asked isulad"},
		remedy: `put "hosts" with a tcp:// address, "tls-verify": true and "tls-config" into`},
	{name: "isulad without TLS",
		files: withIsulad("{" + asks + "," + hosts + "}"), edit: answering(isuladSocket),
		want:   []string{"isulad-tcp-open " + isuladJSON},
		remedy: `put "tls-verify": true and "tls-config" into /etc/isulad/daemon.json`},
	{name: "isulad without TLS or a plug-in",
		files: withIsulad("{" + hosts + "}"), want: []string{"isulad-tcp-open " + isuladJSON}},
	{name: "isulad without TLS by its options",
		files: files{"/usr/bin/isulad": "", defaultHooks: hookSpec,
			isuladOptions: "OPTIONS='-H unix:///s -H tcp://0.0.0.0:2375'\n"},
		want:   []string{"isulad-tcp-open " + isuladJSON},
		remedy: `remove tcp://0.0.0.0:2375 from "hosts", or OPTIONS of /etc/sysconfig/iSulad`},
	{name: "isulad wants no certificate",
		files: withIsulad("{" + asks + "," + hosts + `,"tls":true,"tls-verify":false}`),
		edit:  answering(isuladSocket), want: []string{"isulad-tls-no-verify " + isuladJSON}},
	{name: "isulad has no unix socket",
		files: withIsulad(`{"hosts":["tcp://127.0.0.1:2375"],"tls-verify":true}`),
		want: []string{"isulad-certificate-is-root " + isuladJSON,
			"isulad-no-unix-socket " + isuladJSON},
		remedy: `put "unix:///var/run/isulad.sock" into "hosts" beside tcp://127.0.0.1:2375`},
	{name: "a build without remote connections",
		files: withIsulad("{" + asks + "," + hosts + "}"), edit: withoutRemote,
		want:   []string{"isulad-no-remote " + isuladJSON, "authz-never-asked isulad"},
		remedy: `remove tcp://127.0.0.1:2375 from "hosts"`},
	{name: "a build without remote connections, and a plug-in",
		files: withIsulad("{" + asks + "}"), edit: withoutRemote,
		want: []string{"authz-never-asked isulad"}, remedy: "use authz-broker front"},
	{name: "a build without remote connections alone",
		files: withIsulad("{}"), edit: withoutRemote},
	{name: "the broker runs, and isulad does not ask",
		files: withIsulad("{}"),
		edit: func(t testing.TB, w *World) {
			answering(isuladSocket)(t, w)
			if err := os.WriteFile(w.path("/usr/bin/authz-broker"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		want: []string{"authz-not-asked isulad", "policy-missing /var/lib/authz-broker/policy.json"},
		remedy: `put "authorization-plugin": "authz-broker", "hosts" with a tcp:// address, ` +
			`"tls-verify": true and "tls-config" into`},
	{name: "policies for isula's users alone",
		files: files{"/usr/bin/isulad": "", defaultHooks: hookSpec,
			"/var/lib/authz-broker/policy.json": `{"users":["bob"],"actions":["^container_list$"]}` + "\n"},
		want: []string{"authz-unused isulad"}},
	{name: "of two equal keys the first",
		files: withIsulad(twiceHooks), want: []string{"config-key-twice " + isuladJSON}},
	{name: "the hook behind an equal key",
		files: files{isuladJSON: twiceHooks, defaultHooks: "{}", sampleHooks: hookSpec},
		want:  []string{"config-key-twice " + isuladJSON, "hook-missing isulad"}},
	{name: "a key in another case",
		files: files{isuladJSON: `{"Hook-Spec":"/x.json"}`, "/x.json": hookSpec},
		want:  []string{"hook-missing isulad"}},
	{name: "a text for true",
		files: withIsulad(`{"tls-verify":"true"}`), want: []string{"config-broken " + isuladJSON}},
	{name: "closed directories of lcr",
		files:  withIsulad("{}"),
		edit:   closed("/var/lib/isulad/engines/lcr", "/var/lib/isulad", "/var/lib/isulad/engines/lcr"),
		want:   []string{"isulad-folders-closed /var/lib/isulad"},
		remedy: "chmod o+x /var/lib/isulad /var/lib/isulad/engines/lcr"},
	{name: "one closed directory of another graph",
		files:  withIsulad(`{"graph":"/data/my graph"}`),
		edit:   closed("/data/my graph/engines/lcr", "/data/my graph"),
		want:   []string{"isulad-folders-closed /data/my graph"},
		remedy: "chmod o+x '/data/my graph'"},
	{name: "a closed directory above the graph",
		files: withIsulad(`{"graph":"/data/isulad"}`),
		edit:  closed("/data/isulad/engines/lcr", "/data"),
		want:  []string{"isulad-folders-closed /data"}, remedy: "chmod o+x /data"},
	{name: "closed directories that are not the graph's",
		files: withIsulad(`{"graph":"/data/isulad"}`),
		edit:  closed("/var/lib/isulad/engines/lcr", "/var/lib/isulad")},
}

// closed is an edit that makes a directory, and closes some to others.
func closed(dir string, closed ...string) func(testing.TB, *World) {
	return func(t testing.TB, w *World) {
		if err := os.MkdirAll(w.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range closed {
			if err := os.Chmod(filepath.Join(w.Root, dir), 0o750); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestIsuladTCPOnly: an iSulad that answers at its only address, over TCP, is healthy, although
// isula cannot ask it. One that does not answer is not.
func TestIsuladTCPOnly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := `{"hosts":["tcp://` + listener.Addr().String() + `"],"tls-verify":true,`
	silent := listed(toolkit.List{Skipped: []engine.Skipped{{
		Source: "isulad", Error: "isula ps: exit status 1"}}})
	examine := func() *Report {
		w := newWorld(t, withSystemd, withIsulad(address+asks+"}"),
			files{"/usr/lib/systemd/system/isulad.service": ""})
		answering(isuladSocket)(t, w)
		silent(t, w)
		return Examine(t.Context(), w)
	}
	r := examine()
	want := []string{"authz-client-says isulad", "isulad-no-unix-socket " + isuladJSON}
	if got := found(r); !slices.Equal(got, want) || r.HasProblems() {
		t.Errorf("found %q, want %q, of which none is a warning", got, want)
	}
	listener.Close()
	r = examine()
	if got := found(r); !slices.Contains(got, "engine-silent isulad") {
		t.Errorf("found %q, want engine-silent", got)
	}
	for _, f := range r.Findings {
		status := "systemctl --no-pager status isulad.service"
		if f.ID == "engine-silent" && !strings.Contains(f.Remedy, status) {
			t.Errorf("the remedy is %q", f.Remedy)
		}
	}
}
