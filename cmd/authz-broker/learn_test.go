package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLearnAndImport(t *testing.T) {
	dir := t.TempDir()
	learned, env := filepath.Join(dir, "learned"), filepath.Join(dir, "env")
	for path, text := range map[string]string{
		learned: `{"engine":"docker","user":"alice","action":"docker_ping","class":"read"}` + "\n",
		env:     "CONTAINERS=1\nALLOW_START=1\nPOST=0\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string // in stdout, or in stderr if code is not 0
	}{
		{
			[]string{"learn", learned}, 0,
			`{"name":"learned-1","users":["alice"],"actions":["docker_ping"]`,
		},
		{[]string{"learn"}, 2, "FILE is missing"},
		{[]string{"learn", learned, "x"}, 2, `unexpected argument "x"`},
		{[]string{"learn", env}, 1, env + ":1: "},
		{[]string{"learn", learned + ".absent"}, 1, "no such file"},
		{
			[]string{"import", "socket-proxy", env}, 0,
			`{"name":"socket-proxy","users":["proxy"],"actions":["container_changes",`,
		},
		{[]string{"import", "--image", "linuxserver", "socket-proxy", env}, 0, `"container_start"`},
		{
			[]string{"import", "socket-proxy", "--user", "traefik", env}, 0,
			`"users":["traefik"],"actions":["container_changes"`,
		},
		{[]string{"import", "socket-proxy", env, "x"}, 2, `unexpected argument "x"`},
		{[]string{"import", "--user", "", "socket-proxy"}, 2, `--user "" would be every user`},
		{
			[]string{"import", "--image", "x", "socket-proxy"}, 2,
			`--image "x": want tecnativa or linuxserver`,
		},
		{[]string{"import"}, 2, `import "": want socket-proxy`},
		{[]string{"import", "socket-proxy", learned}, 1, "no variable of a socket proxy"},
	} {
		stdout, stderr, code := run(c.args...)
		got := stdout
		if c.code != 0 {
			got = stderr
		}
		if code != c.code || !strings.Contains(got, c.want) {
			t.Errorf("%q: %d, %q, %q, want %d, %q", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
}

func TestExplainOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	text := `{"name":"p","users":["alice"],"actions":[""],"own":true}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const note = "at a front, for containers that the client has created"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--action", "container_start"}, note},
		{[]string{"--method", "POST", "--uri", "/containers/web/start"}, note},
		{[]string{"--method", "POST", "--uri", "/containers/create"}, note},
		{[]string{"--engine", "isulad", "--action", "container_start"}, "denied: "},
		{[]string{"--method", "GET", "--uri", "/system/df"}, "denied: policy \"p\" grants only the user's"},
	} {
		args := append([]string{"--policy-file", file, "explain", "--user", "alice"}, c.args...)
		if stdout, stderr, code := run(args...); code != 0 || !strings.Contains(stdout, c.want) {
			t.Errorf("%q: %d, %q, %q, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}
