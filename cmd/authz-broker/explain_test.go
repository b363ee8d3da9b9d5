package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palisade/internal/cli/cmdline"
)

// TestExplainIdentities explains requests of the clients that only a front knows.
func TestExplainIdentities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	const policies = `{"name":"u","unix_users":["alice"],"unix_groups":["dev"],"actions":["container_list"]}
{"name":"c","containers":["traefik","role=proxy"],"actions":["container_list"]}
{"name":"l","local":true,"actions":["container_list"]}
`
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, options string
		want          string // "" for a usage error
	}{
		{"a unix user", "--unix-user alice", `policy "u" grants`},
		{"a unix group", "--unix-user carol --unix-group x --unix-group dev", `policy "u" grants`},
		{"another unix user", "--unix-user carol", `user "unix:carol" is listed in no policy`},
		{"a certificate", "--user alice", `user "alice" is listed in no policy`},
		{"a container", "--container traefik", `policy "c" grants`},
		{"a label", "--container web --container role=proxy", `policy "c" grants`},
		{"another container", "--container web --container role=web", "is listed in no policy"},
		{"a container's empty label", "--container role=", "is listed in no policy"},
		{"the plug-in's local client", "--user=", `policy "l" grants`},
		{"two clients", "--user alice --unix-user alice", ""},
		{"a group of another kind", "--unix-user alice --group dev", ""},
		{"a unix group of a certificate", "--user alice --unix-group dev", ""},
		{"no name", "--unix-user=", ""},
		{"two names", "--container a --container b", ""},
	} {
		var out bytes.Buffer
		args := slices.Concat([]string{"authz-broker", "--policy-file", file, "explain", "--action", "container_list"},
			strings.Fields(tt.options))
		code := cmdline.Report("authz-broker", newProgram(&out).RunContext(t.Context(), args), new(bytes.Buffer))
		if tt.want == "" && code != 2 || tt.want != "" && (code != 0 || !strings.Contains(out.String(), tt.want)) {
			t.Errorf("%s: code %d, %s", tt.name, code, out.String())
		}
	}
}
