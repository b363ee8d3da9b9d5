package migrate

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"palisade/internal/authz/policy"
)

func TestParse(t *testing.T) {
	got := Parse("# comment\nCONTAINERS=1\n\n  - POST=0\n  - \"EXEC=1\"\n  IMAGES: \"1\"\n" +
		"  - '-allowGET=/v1\\..{1,2}/(version|x:y)'\n  image: x\nbroken\n SP_ALLOW_GET_2=\"/a=b\"\n")
	want := []Setting{
		{"CONTAINERS", "1"}, {"POST", "0"}, {"EXEC", "1"}, {"IMAGES", "1"},
		{"-allowGET", `/v1\..{1,2}/(version|x:y)`}, {"image", "x"}, {"SP_ALLOW_GET_2", "/a=b"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSocketProxy(t *testing.T) {
	reads := "docker_events docker_ping docker_version"
	for _, c := range []struct {
		name, image, text string
		// allows and denies are actions; allows with "=" lists all.
		allows, denies string
		warnings       []string
		err            string
	}{
		{name: "defaults", text: "POST=0", allows: "=" + reads},
		{name: "nothing", text: "PING=0\nEVENTS=0\nVERSION=0",
			err: "the socket proxy allows no known request"},
		{name: "no variables", text: "PATH=/bin", err: "no variable of a socket proxy"},
		{
			name: "reads", text: "CONTAINERS=1\nINFO=yes",
			allows: "=" + reads + " container_changes container_checkpoint_list container_inspect " +
				"container_list container_stats container_top docker_info",
			warnings: []string{
				"container_logs: releases without ALLOW_LOGS allow it: not included",
				"container_archive: releases without ALLOW_ARCHIVE allow it: not included",
				"container_attach_websocket: releases without ALLOW_ATTACH allow it: not included",
			},
		},
		{
			name: "logs", text: "CONTAINERS=1\nALLOW_LOGS=1", allows: "container_logs container_list",
			denies: "container_archive container_start",
		},
		{
			name: "writes", text: "CONTAINERS=1\nPOST=1",
			allows: "container_create container_start container_stop container_prune",
			denies: "container_kill container_exec_create container_delete image_create",
			warnings: []string{
				"container_delete: releases without DELETE allow it: not included",
				"container_kill: releases without ALLOW_KILL allow it: not included",
			},
		},
		{
			name: "start without POST", text: "ALLOW_START=1\nPOST=0", allows: "=" + reads,
		},
		{
			name: "start without POST", image: LinuxServer, text: "ALLOW_START=1\nPOST=0",
			allows: "=" + reads + " container_start",
		},
		{
			name: "restarts", text: "ALLOW_RESTARTS=1\nPOST=1\nALLOW_KILL=1",
			allows: "=" + reads + " container_kill container_restart container_stop",
		},
		{
			name: "deletes", image: LinuxServer, text: "CONTAINERS=1\nPOST=1",
			allows: "container_delete container_exec_create container_kill container_logs",
		},
		{
			name: "a value", text: "CONTAINERS=maybe", allows: "=" + reads,
			warnings: []string{"CONTAINERS=maybe is taken for 0"},
		},
		{
			name: "Traefik", text: `- '-allowGET=/v1\..{1,2}/(version|containers/.*|events.*)'`,
			allows: "=container_archive container_attach_websocket container_changes " +
				"container_checkpoint_list container_export container_inspect container_list " +
				"container_logs container_stats container_top docker_events docker_version",
		},
		{
			name: "variables", text: "SP_ALLOW_GET=/_ping\nSP_ALLOW_GET_1=/v1.*/info\nSP_ALLOW_HEAD=.*",
			allows: "=container_archive_info docker_info docker_ping",
		},
		{
			name: "options count more", text: "SP_ALLOW_GET=.*\n-allowGET=/info",
			allows: "=docker_info",
		},
		{
			name: "one method", text: "-allowGET=/_ping", allows: "=docker_ping",
			warnings: []string{"docker_ping: the proxy allows only some of its requests"},
		},
		{
			name:   "one container",
			text:   `-allowPOST=(/v1\..{1,2})?/containers/watchtower/(restart|stop)` + "\n-allowGET=/info",
			allows: "=docker_info",
			warnings: []string{
				`container_restart: POST /containers/{name:.*}/restart is allowed for "watchtower" only`,
			},
		},
		{
			name: "ids", text: `-allowGET=/containers/[a-f0-9]{64}/json`, allows: "=container_inspect",
			warnings: []string{"container_inspect: GET /containers/{name:.*}/json is allowed for some"},
		},
		{
			name: "binds", text: "-allowGET=.*\n-allowbindmountfrom=/home\n-allowfrom=traefik",
			allows:   "container_list",
			warnings: []string{"bind mounts from /home only: the policy denies all", "addresses of"},
		},
		{name: "a mistake", text: "-allowGET=(", err: "-allowGET: error parsing regexp"},
	} {
		if c.image == "" {
			c.image = Tecnativa
		}
		text, warnings, err := SocketProxy("proxy", c.image, Parse(c.text))
		if err != nil || c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) || c.err == "" {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if _, err := policy.Parse("policy", text); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var line policyLine
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		allows, isAll := strings.CutPrefix(c.allows, "=")
		want := strings.Fields(allows)
		slices.Sort(want)
		if isAll && !slices.Equal(line.Actions, want) {
			t.Errorf("%s: got %q, want %q", c.name, line.Actions, want)
		}
		for _, name := range want {
			if !slices.Contains(line.Actions, name) {
				t.Errorf("%s does not allow %s", c.name, name)
			}
		}
		for name := range strings.FieldsSeq(c.denies) {
			if slices.Contains(line.Actions, name) {
				t.Errorf("%s allows %s", c.name, name)
			}
		}
		for _, warning := range c.warnings {
			if !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, warning) }) {
				t.Errorf("%s: no warning %q in %q", c.name, warning, warnings)
			}
		}
	}
}
