//go:build integration

package authz

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"palisade/internal/authz/action"
	"palisade/test/engine"
)

// examples are the seven policies of the user manual, with its description of each.
var examples = []struct {
	text string
	// grants reports whether the policy grants an action to a user.
	grants func(user, action string) bool
	// reason is part of the reason for a refusal.
	reason string
	// full lists the users who try all commands; the others try some.
	full []string
}{
	{
		`{"name":"policy_0","users":[""],"actions":[""]}`, // all users can run all commands
		func(string, string) bool { return true }, "", []string{"alice"},
	},
	{
		`{"name":"policy_1","users":["alice"],"actions":[""]}`, // Alice can run all commands
		func(user, _ string) bool { return user == "alice" }, "is listed in no policy", []string{"alice"},
	},
	{
		`{"name":"policy_2","users":[""],"actions":[""]}`, // a blank user can run all commands
		func(string, string) bool { return true }, "", []string{anonymous},
	},
	{
		`{"name":"policy_3","users":["alice","bob"],"actions":["container_create"]}`, // Alice and Bob can create new containers
		func(user, action string) bool {
			return (user == "alice" || user == "bob") && action == "container_create"
		}, "", []string{"alice"},
	},
	{
		`{"name":"policy_4","users":["service_account"],"actions":["container_logs","container_top"]}`, // can read logs and run docker top
		func(user, action string) bool {
			return user == "service_account" && (action == "container_logs" || action == "container_top")
		}, "", []string{"service_account"},
	},
	{
		`{"name":"policy_5","users":["alice"],"actions":["container"]}`, // Alice can perform any container operations
		func(user, action string) bool {
			return user == "alice" && strings.HasPrefix(action, "container_")
		}, "", []string{"alice"},
	},
	{
		`{"name":"policy_5","users":["alice"],"actions":["container"], "readonly":true}`, // but the request type can only be get
		func(user, action string) bool { return user == "alice" && slices.Contains(containerReads, action) }, "", []string{"alice"},
	},
}

var containerReads = []string{
	"container_list", "container_inspect", "container_logs", "container_top", "container_changes", "container_archive", "container_archive_info",
	"container_export", "container_wait", "container_stats",
}

// clientCommand is a command of docker's client.
type clientCommand struct {
	args    string
	actions string // that it requests
	// some reports whether all users try it, not only those in full.
	some bool
}

// clientCommands returns commands that leave web running. NEW stands for an unused name.
func clientCommands() []clientCommand {
	return []clientCommand{
		{args: "version", actions: "docker_version", some: true},
		{args: "info", actions: "docker_info"},
		{args: "events --since 0 --until 1", actions: "docker_events"},
		{args: "ps --all", actions: "container_list", some: true},
		{args: "create --name NEW --network none box true", actions: "container_create", some: true},
		{args: "run --detach --name NEW-run --network none box true", actions: "container_create container_start"},
		{args: "start NEW", actions: "container_start"},
		{args: "wait done", actions: "container_wait"},
		{args: "rename NEW NEW-2", actions: "container_rename"},
		{args: "rm --force NEW-2", actions: "container_delete"},
		{args: "logs web", actions: "container_inspect container_logs", some: true},
		{args: "top web", actions: "container_top", some: true},
		{args: "inspect --type container web", actions: "container_inspect"},
		{args: "diff web", actions: "container_changes"},
		{args: "exec web true", actions: "container_inspect container_exec_create container_exec_start container_exec_inspect", some: true},
		{args: "cp web:/bin/busybox -", actions: "container_archive"},
		{args: "cp /bin/sh web:/tmp/shell", actions: "container_archive_extract container_archive_info"},
		{args: "export web", actions: "container_export"},
		{args: "pause web", actions: "container_pause"},
		{args: "unpause web", actions: "container_unpause"},
		{args: "kill --signal CONT web", actions: "container_kill"},
		{args: "update --cpu-shares 512 web", actions: "container_update"},
		{args: "restart --time 0 web", actions: "container_restart"},
		{args: "commit web NEW-image", actions: "container_commit"},
		{args: "images", actions: "image_list", some: true},
		{args: "history box", actions: "image_history"},
		{args: "tag box NEW-tag", actions: "image_tag"},
		{args: "rmi NEW-tag", actions: "image_delete"},
		{args: "save busy", actions: "images_archive"},
		{args: "volume ls", actions: "volume_list"},
		{args: "network ls", actions: "network_list"},
	}
}

// TestManual checks that with each example of the manual, commands that it grants succeed and
// others are refused with the reason.
func TestManual(t *testing.T) {
	e := startEngine(t)
	e.must(t, anonymous, nil, "tag", "box", "busy")
	e.must(t, anonymous, nil, "create", "--name", "done", "--network", "none", "box", "true")
	e.must(t, anonymous, nil, "start", "done")
	commands := clientCommands()
	for i, example := range examples {
		e.replace(t, example.text)
		for _, user := range []string{"alice", "bob", "service_account", anonymous} {
			for j, c := range commands {
				if !c.some && !slices.Contains(example.full, user) {
					continue
				}
				args := strings.Fields(strings.ReplaceAll(c.args, "NEW", fmt.Sprintf("new%d%s", i, user)))
				missing := ""
				for name := range strings.FieldsSeq(c.actions) {
					if !example.grants(user, name) {
						missing = name
						break
					}
				}
				if missing != "" {
					e.refused(t, user, refusal(user, example.text, missing, example.reason), args...)
				} else if r := e.run(user, nil, args...); r.code != 0 {
					t.Errorf("%s: %s: docker %q, command %d: %s", example.text, user, args, j, r.stderr)
				}
			}
		}
	}
	checkCommands(t, e, commands)
}

// refusal returns part of the message with which an action is refused to a user.
func refusal(user, policy, name, reason string) string {
	switch {
	case reason != "":
		return reason
	case user == anonymous:
		return "a user without a name is listed in no policy"
	case !strings.Contains(policy, user):
		return fmt.Sprintf("user %q is listed in no policy", user)
	case strings.Contains(policy, "readonly") && strings.HasPrefix(name, "container_"):
		return fmt.Sprintf("is read-only, and %q is not a read", name)
	}
	return fmt.Sprintf("does not grant %q to user %q", name, user)
}

// checkCommands checks that the client requests the actions in the table of commands, which explain
// and check use.
func checkCommands(t *testing.T, e *dockerd, commands []clientCommand) {
	t.Helper()
	e.replace(t, `{"name":"last","users":[""],"actions":[""]}`)
	for i, c := range commands {
		args := strings.Fields(strings.ReplaceAll(c.args, "NEW", "table"))
		known, ok := action.FindCommand(action.Docker, args[0])
		if !ok {
			continue
		}
		before := e.auditText.String()
		if r := e.run("alice", nil, args...); r.code != 0 {
			t.Errorf("docker %q, command %d: %s", args, i, r.stderr)
		}
		// The log may be later than the answers, but has the same order.
		e.must(t, "alice", nil, "version")
		engine.WaitFor(t, "the record of docker version", func() bool {
			return strings.Contains(e.auditText.String()[len(before):], `"docker_version"`)
		})
		var asked []string
		for _, r := range records(t, e.auditText.String()[len(before):]) {
			if r.Action != "docker_ping" && r.Action != "docker_version" && !slices.Contains(asked, r.Action) {
				asked = append(asked, r.Action)
			}
		}
		for _, name := range asked {
			if !slices.ContainsFunc(known.Actions, func(a action.Action) bool { return a.Name == name }) && !isCopyIn(name) {
				t.Errorf("docker %s requests %s, which is not in the table of commands", args[0], name)
			}
		}
	}
}

// isCopyIn reports whether an action is that of cp into a container; the table has cp out of one.
func isCopyIn(name string) bool { return name == "container_archive_extract" }

// TestBrokerKilled checks that dockerd allows nothing without a broker, and works again with a new
// one.
func TestBrokerKilled(t *testing.T) {
	e := startEngine(t)
	e.must(t, "alice", nil, "ps")
	e.signal(t, syscall.SIGKILL)
	e.wait(t)
	var asking sync.WaitGroup // dockerd retries for some time
	for _, user := range []string{"alice", "bob", anonymous} {
		asking.Go(func() {
			if r := e.run(user, nil, "ps"); r.code == 0 || !strings.Contains(r.stderr, "authz-broker") {
				t.Errorf("%q without a broker: %+v", user, r)
			}
		})
	}
	asking.Wait()
	e.restart(t)
	e.must(t, "alice", nil, "ps")
	// Groups are in the certificate.
	e.replace(t, `{"name":"ops","groups":["ops"],"actions":[""]}`+"\n"+`{"name":"rest","users":[""],"actions":["docker_"],"message":"ask carol"}`)
	e.must(t, "carol", nil, "ps")
	e.refused(t, "alice", "ask carol", "ps")
}
