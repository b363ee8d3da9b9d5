package doctor

import (
	"bytes"
	"encoding/json"
	"testing"

	"palisade/internal/cli/golden"
	"palisade/internal/inject/probe"
)

// TestGolden holds what --json prints of a sick host to a file: scripts read it.
func TestGolden(t *testing.T) {
	w := newWorld(t, files{
		"/usr/sbin/dockerd": "", "/etc/docker/daemon.json": "{\n\t\"runtimes\": 7\n}\n", "/usr/bin/podman": "",
		"/var/lib/authz-broker/policy.json": `{"name":"default","local":true,"actions":[""]}` + "\n",
		"/etc/subuid":                       "alice:100000:65536\nbob:100500:65536\nodd\n",
	})
	probed(probe.Result{State: probe.Dead, Reason: "its server is gone"})(t, w)
	answering("/run/docker/plugins/authz-broker.sock")(t, w)
	report := Examine(t.Context(), w)
	delete(report.Versions, "lxcfs-toolkit") // differs
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/sick.json", b.String())
}
