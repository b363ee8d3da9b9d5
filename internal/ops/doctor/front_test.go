package doctor

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

const dockerFront = "/run/authz-front/docker.sock"

// frontEnabled are the files of a host on which systemd starts the front of Docker at boot.
var frontEnabled = files{
	"/run/systemd/system":                                                    "dir",
	"/usr/lib/systemd/system/lxcfs.service":                                  withSystemd["/usr/lib/systemd/system/lxcfs.service"],
	"/usr/lib/systemd/system/authz-front@.service":                           "",
	"/etc/systemd/system/multi-user.target.wants/lxcfs.service":              "->/usr/lib/systemd/system/lxcfs.service",
	"/etc/systemd/system/multi-user.target.wants/authz-front@docker.service": "->/usr/lib/systemd/system/authz-front@.service",
}

// frontRuns returns frontEnabled with the front's process, of user and group 5, and other files.
func frontRuns(others files) files {
	all := files{
		`/sys/fs/cgroup/system.slice/system-authz\x2dfront.slice/authz-front@docker.service/cgroup.procs`: "77\n",
		"/proc/77/status": "Name:\tauthz-broker\nUid:\t5\t5\t5\t5\nGid:\t5\t5\t5\t5\nGroups:\t5 6 \n",
	}
	for _, set := range []files{frontEnabled, others} {
		for file, text := range set {
			all[file] = text
		}
	}
	return all
}

// answeringGRPC returns an edit that starts a server of HTTP/2 at a socket.
func answeringGRPC(socket string) func(testing.TB, *World) {
	return func(t testing.TB, w *World) {
		s := &http.Server{Handler: http.NotFoundHandler(), Protocols: new(http.Protocols)}
		s.Protocols.SetUnencryptedHTTP2(true)
		go s.Serve(listen(t, w, socket))
	}
}

// withGroup returns an edit that gives a file a mode and a group other than root's, which has the
// lines of /etc/group and /etc/passwd, where GID stands for its number.
func withGroup(file string, mode os.FileMode, group, passwd string) func(testing.TB, *World) {
	return func(t testing.TB, w *World) {
		gid := os.Getgid()
		if gid == 0 {
			gid = 4242
		}
		numbered := func(text string) []byte {
			return []byte(strings.ReplaceAll(text, "GID", fmt.Sprint(gid)))
		}
		for _, err := range []error{
			os.Chown(w.path(file), -1, gid), os.Chmod(w.path(file), mode),
			os.WriteFile(w.path("/etc/group"), numbered(group), 0o644),
			os.WriteFile(w.path("/etc/passwd"), numbered(passwd), 0o644),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

var frontScenarios = []scenario{
	{name: "a front", files: frontEnabled, edit: answering(dockerFront)},
	{name: "a front of iSulad by hand", edit: answeringGRPC("/run/authz-front/isulad.sock")},
	{name: "a front of iSulad that speaks HTTP/1", edit: answering("/run/authz-front/isulad.sock"),
		want: []string{"front-silent /run/authz-front/isulad.sock"}, remedy: "start authz-broker front --engine isulad"},
	{name: "a front that ended", files: frontEnabled, want: []string{"front-silent " + dockerFront},
		remedy: "systemctl restart authz-front@docker || journalctl --no-pager --unit authz-front@docker --lines 20"},
	{name: "a front of another engine", files: frontEnabled, edit: only("podman"), want: []string{"engine-absent podman"}},
	{name: "a front without access", files: frontRuns(files{
		"/srv/docker.sock": "", "/etc/palisade/front/docker.env": "AUTHZ_FRONT_OPTIONS=--upstream unix:///srv/docker.sock --dry-run\n",
		"/var/lib/authz-broker/policy.json": goodPolicy,
	}), edit: both(answering(dockerFront), withGroup("/var/lib/authz-broker/policy.json", 0o640, "", "")),
		want:   []string{"front-no-access /srv/docker.sock", "front-no-access /var/lib/authz-broker/policy.json"},
		remedy: "chgrp palisade-authz /srv/docker.sock"},
	{name: "a socket for all users", files: frontRuns(files{"/run/docker.sock": "open"}), edit: answering(dockerFront),
		want: []string{"front-bypassed /run/docker.sock"}, remedy: "give /run/docker.sock the mode 0660 and the group palisade-authz"},
	{name: "a socket for a group", files: files{"/run/docker.sock": ""}, edit: both(answering(dockerFront),
		withGroup("/run/docker.sock", 0o660, "odd\ndocker:x:GID:alice,palisade-authz\n", "bob:x:1001:GID::/:/bin/sh\nroot:x:0:GID::/:/bin/sh\n")),
		want: []string{"front-bypassed /run/docker.sock"}, remedy: "remove them from the group docker"},
	{name: "a socket for a group without users", files: files{"/run/docker.sock": ""}, edit: both(answering(dockerFront),
		withGroup("/run/docker.sock", 0o660, "palisade-authz:x:GID:\n", "palisade-authz:x:999:GID::/:/sbin/nologin\n"))},
	{name: "addresses without a front", files: files{
		"/etc/docker/daemon.json": strings.Replace(daemonJSON, "{", `{"hosts":["fd://","tcp://0.0.0.0:2376"],`, 1),
		"/etc/isulad/daemon.json": `{"hosts":["unix:///var/run/isulad.sock","tcp://127.0.0.1:2375"],"hook-spec":"/h.json"}`, "/h.json": hookSpec,
	}, edit: both(answering(dockerFront), answeringGRPC("/run/authz-front/isulad.sock")),
		want: []string{"isulad-tcp-open /etc/isulad/daemon.json", "front-bypassed /etc/isulad/daemon.json", "front-bypassed /etc/docker/daemon.json"}},
	{name: "policies for a front that is not used", files: files{"/var/lib/authz-broker/policy.json": `{"name":"a","unix_users":["alice"],"actions":["^docker_ping$"]}` + "\n" +
		`{"name":"b","users":["bob"],"own":true,"actions":["^docker_ping$"]}` + "\n"},
		want:   []string{"policy-needs-front /var/lib/authz-broker/policy.json:1", "policy-needs-front /var/lib/authz-broker/policy.json:2"},
		remedy: "systemctl enable --now authz-front@ENGINE"},
}
