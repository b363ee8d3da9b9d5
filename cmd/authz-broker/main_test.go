package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cli/cmdline"
)

// run runs the program and returns its output and exit code.
func run(args ...string) (stdout, stderr string, code int) {
	var out, errOut bytes.Buffer
	err := newProgram(&out).Run(append([]string{"authz-broker"}, args...))
	code = cmdline.Report("authz-broker", err, &errOut)
	return out.String(), errOut.String(), code
}

func TestCommands(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without the engines of this host
	file := filepath.Join(t.TempDir(), "policy.json")
	policies := `{"name":"p","users":["alice"],"actions":["container"],"readonly":true}` + "\n"
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := file + ".broken"
	if err := os.WriteFile(broken, []byte(policies+"{}\n[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ruled, body, removed, secretive := file+".ruled", file+".body", file+".removed", file+".secretive"
	spec := file + ".spec"
	for path, text := range map[string]string{
		ruled:   `{"name":"p","users":["alice"],"actions":[""],"deny":["privileged"]}`,
		body:    `{"HostConfig":{"Privileged":true}}`,
		spec:    `{"privileged":true}`,
		removed: `{"name":"p","users":["alice"],"actions":[""],"deny":["binds:/etc"]}`,
		secretive: strings.ReplaceAll(
			`{"name":"MARK","users":["alice"],"actions":[""],"readonly":true}`, "MARK", "\u202e",
		),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := file + ".open"
	err := errors.Join(os.WriteFile(open, []byte(policies), 0o600), os.Chmod(open, 0o622))
	if err != nil {
		t.Fatal(err)
	}
	explain := func(file string, args ...string) []string {
		return append([]string{"--policy-file", file, "explain", "--user", "alice"}, args...)
	}
	isula := func(command string) []string {
		return explain(file, "--engine", "isulad", "--command", command)
	}
	for _, c := range []struct {
		args []string
		code int
		want string // in stdout, or in stderr if code is not 0
	}{
		{[]string{"check", file}, 0, file + ": policies: 1, warnings: 2\n"},
		{[]string{"--policy-file", file, "check"}, 0, ": warning: policy \"p\" is read-only"},
		{[]string{"check", "--engine", "isulad", file}, 0, file + ": policies: 1, warnings: 1\n"},
		{[]string{"check", "--engine", "docker", file}, 0, "does not grant docker_ping"},
		{[]string{"check", "--engine", "lxd", file}, 2, `--engine "lxd": want docker, podman or isulad`},
		{[]string{"check", "--policy-file", file}, 0, ": warning: policy \"p\" is read-only"},
		{
			[]string{"explain", "--user", "alice", "--policy-file", file, "--action", "container_list"}, 0,
			"allowed: policy \"p\" grants",
		},
		{
			[]string{"check", broken}, 1,
			broken + ":2: the policy has no clients: want users, groups, unix_users, unix_groups, " +
				"containers or local; \"users\":[\"\"] means every user; " + broken +
				":3: a policy is",
		},
		{[]string{"check", file + ".absent"}, 1, file + ".absent: no such file or directory"},
		{[]string{"check", open}, 0, open + ": warning: others than the owner can write the file"},
		{
			[]string{"--metrics", ":9437"}, 2,
			`--metrics ":9437" is not an IP address and port, such as 127.0.0.1:9436`,
		},
		{[]string{"--metrics-socket", "m.sock"}, 2, `--metrics-socket "m.sock" is not an absolute path`},
		{
			[]string{"--docker-socket", "/run/x", "--metrics-socket", "/run//x"}, 2,
			`--metrics-socket "/run//x" is also the socket of an engine`,
		},
		{[]string{"check", file, "more"}, 2, `unexpected argument "more"`},
		{explain(file, "--action", "container_list"), 0, "allowed: policy \"p\" grants"},
		{
			[]string{"--policy-file", file, "explain", "--user", "", "--action", "container_list"}, 0,
			"denied: a user without a name is listed in no policy\n",
		},
		{
			explain(file, "--method", "POST", "--uri", "/v1.44/containers/x/exec", "--json"), 0,
			`{"allow":false,"action":"container_exec_create","class":"write","policy":"p","line":1,` +
				`"reason":"policy \"p\" is read-only, and \"container_exec_create\" is not a read"}` + "\n",
		},
		{[]string{"explain", "--action", "container_list"}, 2, "want --user, --unix-user or --container"},
		{
			[]string{"explain", "--user", "a"}, 2,
			"want one of --action, --command, and --method with --uri",
		},
		{
			isula("exec"), 0,
			"denied: exec needs container_inspect, container_exec_create\n" +
				"allowed: policy \"p\" grants \"container_inspect\"",
		},
		{
			explain(file, "--engine", "isulad", "--command", "top", "--json"), 0,
			`{"allow":true,"command":"top","actions":[{"allow":true,` +
				`"action":"container_inspect","class":"read","policy":"p","line":1,`,
		},
		{isula("run"), 0, "denied: run needs container_create, container_start, container_wait\n"},
		{isula("run -tid"), 0, "denied: run -tid needs container_create, container_start\n"},
		{isula("network ls"), 0, "denied: network ls needs network_list\n"},
		{isula("run web"), 2, "run, run -d, search"},
		{
			[]string{"explain", "--user", "a", "--command", "fly"}, 2,
			`--command "fly": unknown command of docker; want one of attach, build, commit, cp, create`,
		},
		{
			[]string{"explain", "--user", "a", "--command", "exec", "--action", "docker_info"}, 2,
			"want one of --action",
		},
		{
			explain(ruled, "--action", "container_create"), 0,
			`allowed: policy "p" grants "container_create" to user "alice", unless "deny" forbids what ` +
				`its body asks for`,
		},
		{explain(ruled, "--action", "service_create"), 0, `denied: policy "p" denies "service_create"`},
		{
			explain(ruled, "--engine", "isulad", "--action", "container_create"), 0,
			`denied: policy "p" has rules about the body`,
		},
		{
			explain(ruled, "--action", "container_create", "--body", body), 0,
			`denied: policy "p" denies "container_create": "privileged"`,
		},
		{
			[]string{"explain", "--user", "a", "--action", "docker_info", "--body", file + ".absent"}, 1,
			"no such file",
		},
		{[]string{"explain", "--user", "a", "--method", "GET"}, 2, "must be used together"},
		{
			[]string{"explain", "--user", "a", "--action", "container_fly"}, 2,
			`--action "container_fly": unknown action of docker`,
		},
		{
			[]string{"explain", "--user", "a", "--engine", "isulad", "--action", "images_load"}, 2,
			`unknown action of isulad`,
		},
		{
			[]string{"explain", "--user", "a", "--engine", "podman", "--action", "pull"}, 2,
			`--action "pull": unknown action of podman`,
		},
		{
			[]string{"explain", "--user", "a", "--engine", "isulad", "--method", "GET", "--uri", "/"}, 2,
			`--uri is for docker and podman only`,
		},
		{
			explain(file, "--engine", "isulad", "--method", "/containers.ContainerService/Stop"), 0,
			`denied: policy "p" is read-only, and "container_stop" is not a read`,
		},
		{
			explain(ruled, "--engine", "isulad", "--method", "/containers.ContainerService/Create"), 0,
			`allowed: policy "p" grants "container_create" to user "alice", unless "deny" forbids`,
		},
		{
			explain(ruled, "--engine", "isulad", "--action", "container_create"), 0,
			`denied: policy "p" has rules about the body of "container_create", which the engine did not`,
		},
		{
			explain(ruled, "--engine", "podman", "--method", "POST", "--uri", "/v4.3.1/libpod/kube/play"), 0,
			`denied: policy "p" denies "libpod_kube_play": "libpod_kube_play" could bypass the rules`,
		},
		{
			explain(ruled, "--engine", "podman", "--action", "container_create", "--body", spec), 0,
			`denied: policy "p" denies "container_create": "privileged": privileged is set`,
		},
		{
			explain(ruled, "--engine", "podman", "--action", "pod_create"), 0,
			`allowed: policy "p" grants "pod_create" to user "alice", unless "deny" forbids`,
		},
		{[]string{"actions", "--engine", "isulad"}, 0, "pull"},
		{[]string{"connect", "tcp://h:1"}, 2, `--listen "": want unix:///PATH`},
		{[]string{"connect", "--listen", "unix:///s", "h:1"}, 2, `"h:1": want the front as tcp://`},
		{[]string{"connect", "--listen", "unix:///s", "tcp://h"}, 2, `"tcp://h": want the front`},
		{[]string{"connect", "--listen", "unix:///s", "tcp://h:1"}, 2, "--cert, --key or --ca is missing"},
		{
			[]string{"connect", "--listen", "unix:///s", "tcp://h:1", "--cert", broken, "--key", broken,
				"--ca", broken}, 1, "use " + broken,
		},
		{[]string{"actions", "--engine", "lxd"}, 2, `--engine "lxd"`},
		{[]string{"actions"}, 0, "swarm_unlock_key                docker  secret\n"},
		{[]string{"actions", "--engine", "podman"}, 0, "libpod_kube_play             podman  write\n"},
		{
			[]string{"check", removed}, 1,
			removed + `:1: the rule "binds:/etc" does not protect a path from symbolic links ` +
				`in other mounts; write "binds"`,
		},
		{
			[]string{
				"--policy-file", file, "explain", "--user", "\u009b31m", "--action", "container_list", "--json",
			},
			0, `user \"\\u009b31m\" is listed`,
		},
		{
			explain(secretive, "--action", "swarm_inspect"), 0,
			`denied: policy "\u202e" is read-only, and "swarm_inspect" discloses secrets`,
		},
		{explain(secretive, "--action", "docker_info", "--json"), 0, `"policy":"\u202e"`},
		{
			[]string{"check", secretive}, 0,
			`does not grant config_inspect, config_list, plugin_inspect, plugin_list, swarm_inspect, ` +
				`swarm_unlock_key, volume_inspect, volume_list, which disclose secrets`,
		},
		{[]string{"fly"}, 2, `command "fly" is unknown`},
		{
			[]string{"--docker-socket", "off", "--isulad-socket", "off"}, 2,
			"--docker-socket and --isulad-socket are both off",
		},
		{[]string{"--docker-socket", "x"}, 2, `--docker-socket "x": want an absolute path or off`},
		{[]string{"--docker-socket", "/x", "--isulad-socket", "/x"}, 2, `are both "/x"`},
		{[]string{"--audit", "sysog"}, 2, `--audit "sysog": want stdout, syslog, or an absolute path`},
		{[]string{"--pid-file", "x"}, 2, `--pid-file "x" is not an absolute path`},
		{
			[]string{"--pid-file", "", "--policy-file", broken}, 1,
			broken + ":2: the policy has no clients",
		},
		{[]string{"--pid-file", file + ".absent/x"}, 1, "use --pid-file: open "},
		{
			[]string{"--pid-file", "", "--policy-file", file, "--audit", file + ".absent/x"}, 1,
			"use --audit: open ",
		},
		{
			[]string{
				"--pid-file", "", "--policy-file", file, "--docker-socket", file, "--isulad-socket", "off",
			},
			1, file + " is not a socket",
		},
		{[]string{"--fly"}, 2, "unknown option --fly (authz-broker --help lists the options)"},
	} {
		stdout, stderr, code := run(c.args...)
		text := stdout
		if code != 0 {
			text = stderr
		}
		if code != c.code || !strings.Contains(text, c.want) ||
			code != 0 && strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q; want %d, %q",
				c.args, code, stdout, stderr, c.code, c.want)
		}
	}
}

// TestCheckEngines checks that check warns only about the clients of the engines in PATH.
func TestCheckEngines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	text := []byte(`{"users":["x"],"actions":["container_list"]}`)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for daemons, want := range map[string]bool{
		"": true, "dockerd": true, "isulad": false, "dockerd isulad": true,
	} {
		bin := t.TempDir()
		for daemon := range strings.FieldsSeq(daemons) {
			if err := os.WriteFile(filepath.Join(bin, daemon), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", bin)
		stdout, stderr, code := run("check", file)
		if got := strings.Contains(stdout, "docker_ping"); got != want || code != 0 {
			t.Errorf("with %q: %q, %q, %d; want docker_ping: %v", daemons, stdout, stderr, code, want)
		}
	}
}
