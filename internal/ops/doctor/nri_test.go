package doctor

import (
	"encoding/json"

	"palisade/internal/cli/version"
	"palisade/internal/inject/agentstatus"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

const nriSocket = "/run/nri/nri.sock"

// withAgent are the files of a world in which palisade-nri runs, with this state.
func withAgent(s agentstatus.Status) files {
	s.PID = 80
	if s.Version == "" {
		s.Version = version.String()
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return files{agentstatus.Path: string(text), "/proc/80/comm": "palisade-nri\n"}
}

// and returns the files of both, the later ones in place of the earlier ones.
func (f files) and(other files) files {
	all := make(files)
	for _, set := range []files{f, other} {
		for file, text := range set {
			all[file] = text
		}
	}
	return all
}

var (
	connected    = map[string]bool{nriSocket: true}
	disconnected = map[string]bool{nriSocket: false}
)

var nriScenarios = []scenario{
	{name: "an agent serves containerd and CRI-O", files: withAgent(agentstatus.Status{Runtimes: connected}).
		and(files{"/usr/bin/containerd": "", "/usr/bin/crio": ""})},
	{name: "an agent was killed", files: withAgent(agentstatus.Status{Runtimes: connected}).
		and(files{"/proc/80/comm": "another\n", "/usr/bin/containerd": ""}),
		want: []string{"hook-missing containerd", "nri-agent-gone palisade-nri"}},
	{name: "an agent of the package was killed", files: withSystemd.and(files{
		"/usr/lib/systemd/system/palisade-nri.service":                     "",
		"/etc/systemd/system/multi-user.target.wants/palisade-nri.service": "->/usr/lib/systemd/system/palisade-nri.service",
	}), want: []string{"nri-agent-gone palisade-nri"}, remedy: "systemctl restart palisade-nri || "},
	{name: "an odd state", files: files{agentstatus.Path: "[1]"}},
	{name: "an agent of another version cannot install", files: withAgent(agentstatus.Status{
		Version: "v0", Runtimes: connected, Failure: "no space left on device",
	}), want: []string{"nri-install-failed palisade-nri", "nri-versions-differ palisade-nri"}},
	{name: "the socket of NRI is not served", files: withAgent(agentstatus.Status{Runtimes: disconnected}).
		and(files{nriSocket: ""}), want: []string{"nri-not-connected " + nriSocket}},
	{name: "no socket of NRI", files: withAgent(agentstatus.Status{Runtimes: disconnected}),
		want: []string{"nri-off " + nriSocket}, remedy: "start the container runtime"},
	{name: "containerd disables NRI", files: withAgent(agentstatus.Status{Runtimes: disconnected}).
		and(files{"/etc/containerd/config.toml": "version = 3\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true\n"}),
		want: []string{"hook-missing containerd", "nri-off " + nriSocket}, remedy: "set disable = false in [plugins."},
	{name: "containerd has no plug-in NRI", files: withAgent(agentstatus.Status{Runtimes: disconnected}).
		and(files{"/etc/containerd/config.toml": "version = 3\ndisabled_plugins = [\"io.containerd.nri.v1.nri\"]\n"}),
		want: []string{"hook-missing containerd", "nri-off " + nriSocket}, remedy: "set disable = false in [plugins."},
	{name: "CRI-O disables NRI", files: withAgent(agentstatus.Status{Runtimes: disconnected}).
		and(files{"/etc/crio/crio.conf.d/10.conf": "[crio.nri]\nenable_nri = false\n", "/etc/crio/crio.conf": ""}),
		want: []string{"hook-missing crio", "nri-off " + nriSocket}, remedy: "set enable_nri = true in [crio.nri]"},
	{name: "pods that the agent leaves out", files: withAgent(agentstatus.Status{
		Runtimes: connected, Served: []string{"a"},
	}), edit: listed(toolkit.List{Containers: []toolkit.Listed{
		{ID: "a", Engine: "containerd"}, {ID: "b", Engine: "containerd"},
	}}), want: []string{"container-left-out containerd b", "container-files-missing containerd a"}},
	{name: "only the toolkit that the agent installs", files: withAgent(agentstatus.Status{
		Runtimes: connected, Served: []string{"a"},
	}).and(files{
		"/usr/bin/lxcfs-toolkit": "none", "/usr/bin/lxcfs-runc": "none",
		"/run/systemd/system/palisade-lxcfs.service": "ExecStartPre=/opt/palisade/current/lxcfs-toolkit prestart\n" +
			"ExecStart=/opt/palisade/current/lxcfs --keep-mount /var/lib/lxc/lxcfs\n",
		"/run/systemd/system/multi-user.target.wants/palisade-lxcfs.service": "->../palisade-lxcfs.service",
	}), edit: listed(toolkit.List{Containers: []toolkit.Listed{{ID: "a", Engine: "containerd"}}}),
		want:   []string{"container-files-missing containerd a"},
		remedy: "/opt/palisade/current/lxcfs-toolkit remount --container-id a"},
	{name: "the unit that the agent installs", files: files{
		"/run/systemd/system": "dir", "/etc/systemd/system/palisade-lxcfs.service": "/var/lib/lxc/lxcfs",
		"/etc/systemd/system/multi-user.target.wants/palisade-lxcfs.service": "->../palisade-lxcfs.service",
	}, edit: probed(probe.Result{State: probe.Dead}), want: []string{"lxcfs-dead /var/lib/lxc/lxcfs"},
		remedy: "systemctl restart palisade-lxcfs || journalctl --unit palisade-lxcfs --lines 20"},
	{name: "a version that the agent has replaced", files: files{
		"/proc/70/exe":                 "->/opt/palisade/versions/old/lxcfs (deleted)",
		"/proc/70/cmdline":             "/opt/palisade/current/lxcfs\x00--keep-mount\x00",
		"/opt/palisade/current":        "->versions/new",
		"/opt/palisade/versions/new/x": "", "/opt/palisade/versions/new/lxcfs": "#!",
	}},
}
