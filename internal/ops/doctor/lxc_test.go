package doctor

import (
	"strings"
	"testing"

	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

const (
	lxcConf    = lxcConfigDir + "/00-lxcfs.conf"
	mountHook  = "/usr/share/lxcfs/lxc.mount.hook"
	startHook  = "/usr/share/palisade/hooks/lxc/start-host"
	hooksOfLXC = "# comment\nlxc.hook.start-host = " + startHook + "\nlxc.hook.mount = " + mountHook + "\n" +
		"lxc.hook.post-stop = /usr/share/lxcfs/lxc.reboot.hook\n"
	hookScript = "#!/bin/sh\nmount --bind /var/lib/lxcfs/proc/stat $1\n"
)

// lxcHost has LXC whose containers get files of lxcfs.
var lxcHost = files{
	"/usr/bin/lxc-start": "", lxcConf: hooksOfLXC, mountHook: hookScript, startHook: "#!/bin/sh\n",
	"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs 0:77", "/var/lib/lxcfs 0:77"),
}

var lxcScenarios = []scenario{
	{name: "LXC", files: lxcHost},
	{name: "LXC without hooks", files: files{"/usr/bin/lxc-start": "", "/etc/pve": "dir", lxcConfigDir: "dir"},
		want: []string{"hook-missing lxc, proxmox"}, remedy: "install the package palisade-lxc, then run `lxcfs-toolkit remount --all`"},
	{name: "containers of LXC run", edit: listed(toolkit.List{Containers: []toolkit.Listed{
		{ID: "c1", Engine: "lxc", Names: []string{"c1"}, Alive: []string{"/proc/meminfo", "/proc/stat"}}, {ID: "100", Engine: "proxmox"}}}),
		want:   []string{"container-files-missing proxmox 100", "hook-missing lxc, proxmox"},
		remedy: "lxcfs-toolkit remount --container-id 100"},
	{name: "LXC is not wanted", files: files{"/usr/bin/lxc-start": ""}, edit: only("incus"), want: []string{"engine-absent incus"}},
	{name: "LXD of a snap", files: files{"/var/snap/lxd": "dir"}, edit: listed(toolkit.List{Containers: []toolkit.Listed{
		{ID: "u1", Engine: "lxd", Alive: []string{"/proc/meminfo", "/proc/stat"}}}})},
	{name: "hooks of LXC that are gone", files: merge(lxcHost, files{mountHook: "none"}), want: []string{"hook-program lxc"},
		remedy: "install the package palisade-lxc"},
	{name: "a hook of LXC that cannot be run", files: merge(lxcHost, files{startHook: "open"}), want: []string{"hook-program lxc"}},
	{name: "hooks that are taken away", files: merge(lxcHost, files{lxcConfigDir + "/99.conf": "lxc.hook.mount =\nlxc.hook.start-host = ''\n"}),
		want: []string{"hook-missing lxc"}},
	{name: "a hook without an lxcfs", files: merge(lxcHost, files{"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs")}),
		want: []string{"lxc-not-served /var/lib/lxcfs"}, remedy: "lxcfs-toolkit bind /var/lib/lxcfs"},
	{name: "a hook without any lxcfs", files: merge(lxcHost, files{"/proc/thread-self/mountinfo": v1Mounts}),
		edit: probed(probe.Result{State: probe.NotMounted}),
		want: []string{"lxcfs-not-mounted /var/lib/lxc/lxcfs", "lxc-not-served /var/lib/lxcfs"}, remedy: "start lxcfs, then run"},
	{name: "Zabbly's Incus", files: merge(lxcHost, files{"/var/lib/incus": "dir",
		incusConfigDir + "/00-lxcfs.conf":       "lxc.hook.mount=\"/opt/incus/share/lxcfs/lxc.mount.hook\"\n",
		"/opt/incus/share/lxcfs/lxc.mount.hook": strings.Replace(hookScript, "/var/lib/lxcfs", "/var/lib/incus-lxcfs", 1)}),
		want: []string{"lxc-not-served /var/lib/incus-lxcfs"}},
	{name: "configurations of containers", files: merge(lxcHost, files{
		"/usr/share/lxc/config/common.conf": "lxc.include = " + lxcConfigDir + "\n",
		"/var/lib/lxc/a/config":             "lxc.include = /usr/share/lxc/config/common.conf\n",
		"/var/lib/lxc/b/config":             "lxc.uts.name = b\nlxc.include = /var/lib/lxc/b/config\nlxc.include =\n",
		"/var/lib/lxc/c/config":             "lxc.include = /usr/share/lxc/config/common.conf\nlxc.hook =\n",
		"/var/lib/lxc/d/rootfs":             "dir",
		"/var/lib/lxc/lxcfs/config":         "",
	}), want: []string{"lxc-config-apart /var/lib/lxc/b/config", "lxc-config-apart /var/lib/lxc/c/config"},
		remedy: "lxc.include = " + lxcConfigDir + "/"},
	{name: "many configurations", files: merge(lxcHost, manyConfigs(maxNamed+2)),
		want: apartLines(maxNamed)},
}

func merge(sets ...files) files {
	all := make(files)
	for _, set := range sets {
		for file, text := range set {
			all[file] = text
		}
	}
	return all
}

// manyConfigs are the configurations of n containers that name no hook, and apartLines what is
// found of them.
func manyConfigs(n int) files {
	all := make(files)
	for i := range n {
		all["/var/lib/lxc/"+string(rune('A'+i))+"/config"] = "lxc.uts.name = x\n"
	}
	return all
}

func apartLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, "lxc-config-apart /var/lib/lxc/"+string(rune('A'+i))+"/config")
	}
	return append(lines, "lxc-config-apart others")
}

// FuzzLXC reads the configuration of a container.
func FuzzLXC(f *testing.F) {
	f.Add(hooksOfLXC)
	f.Add("lxc.include = /var/lib/lxc/a/config\nlxc.include\nlxc.hook.mount = '\nlxc.hook=")
	f.Add("lxc.include = /\n")
	w := newWorld(f, files{"/var/lib/lxc/a/config": strings.Repeat("lxc.include = /var/lib/lxc/a/config\n", 9)})
	f.Fuzz(func(t *testing.T, text string) {
		var c lxcConfig
		c.parse(w, text, 0)
		for _, program := range c.lxcfsHooks() {
			if program == "" {
				t.Error("a program without a name")
			}
		}
	})
}
