package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cmdline"
)

// broker runs the program and returns what it prints and its exit code.
func broker(args ...string) (stdout, stderr string, code int) {
	var out, mistakes bytes.Buffer
	err := newApp(&out).Run(append([]string{"authz-broker"}, args...))
	code = cmdline.Report("authz-broker", err, &mistakes)
	return out.String(), mistakes.String(), code
}

func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	policies := `{"name":"p","users":["alice"],"actions":["container"],"readonly":true}` + "\n"
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := file + ".broken"
	if err := os.WriteFile(broken, []byte(policies+"{}\n[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string // of stdout, or of stderr where it fails
	}{
		{[]string{"check", file}, 0, file + ": policies: 1, warnings: 1\n"},
		{[]string{"--policy-file", file, "check"}, 0, ": warning: policy \"p\" is read-only"},
		{[]string{"check", broken}, 1, broken + ":2: no users and no groups are listed; \"users\":[\"\"] is everybody; " + broken + ":3: a policy is"},
		{[]string{"check", file + ".absent"}, 1, file + ".absent: no such file or directory"},
		{[]string{"check", file, "more"}, 2, `argument "more" is one too many`},
		{[]string{"--policy-file", file, "explain", "--user", "alice", "--action", "container_list"}, 0, "allowed: policy \"p\" grants"},
		{[]string{"--policy-file", file, "explain", "--user", "", "--action", "container_list"}, 0, "denied: a user without a name is listed in no policy\n"},
		{
			[]string{"--policy-file", file, "explain", "--user", "alice", "--method", "POST", "--uri", "/v1.44/containers/x/exec", "--json"}, 0,
			`{"allow":false,"action":"container_exec_create","class":"write","policy":"p","line":1,"reason":"policy \"p\" is read-only, and \"container_exec_create\" is no read"}` + "\n",
		},
		{[]string{"explain", "--action", "container_list"}, 2, "--user is missing"},
		{[]string{"explain", "--user", "a"}, 2, "either --action, or --method and --uri are needed"},
		{[]string{"explain", "--user", "a", "--method", "GET"}, 2, "belong together"},
		{[]string{"explain", "--user", "a", "--action", "container_fly"}, 2, `--action "container_fly" is none of docker`},
		{[]string{"explain", "--user", "a", "--engine", "isulad", "--action", "images_load"}, 2, `is none of isulad`},
		{[]string{"explain", "--user", "a", "--engine", "podman", "--action", "pull"}, 2, `--engine "podman" is none of docker, isulad`},
		{[]string{"actions", "--engine", "isulad"}, 0, "pull"},
		{[]string{"actions", "--engine", "lxd"}, 2, `--engine "lxd"`},
		{[]string{"actions"}, 0, "swarm_unlock_key"},
		{[]string{"fly"}, 2, `command "fly" is unknown`},
		{nil, 2, "COMMAND is missing"},
		{[]string{"--fly"}, 2, "-fly (authz-broker --help lists the options)"},
	} {
		stdout, stderr, code := broker(c.args...)
		text := stdout
		if code != 0 {
			text = stderr
		}
		if code != c.code || !strings.Contains(text, c.want) || code != 0 && strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q; want %d, %q", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
}
