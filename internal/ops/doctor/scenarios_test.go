package doctor

import (
	"fmt"
	"slices"
	"strings"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
)

var hostScenarios = []scenario{
	{name: "fine on v1"},
	{name: "fine on v2", files: files{
		"/proc/thread-self/mountinfo":           v2Mounts,
		"/sys/fs/cgroup/cgroup.controllers":     "cpuset cpu io memory pids\n",
		"/sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu io memory\n",
	}},
	{name: "fine on hybrid", files: files{
		"/proc/thread-self/mountinfo":                   strings.Replace(v1Mounts, "cgroup rw,memory", "cgroup rw,pids", 1) + "50 31 0:50 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/unified/cgroup.controllers":     "memory",
		"/sys/fs/cgroup/unified/cgroup.subtree_control": "memory",
	}},
	{name: "v2 without controllers", files: files{
		"/proc/thread-self/mountinfo":           v2Mounts,
		"/sys/fs/cgroup/cgroup.controllers":     "cpuset cpu io\n",
		"/sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu\n",
	}, want: []string{"cgroup-controller-missing memory", "cgroup-controller-off io"}, remedy: "echo +io >/sys/fs/cgroup/cgroup.subtree_control"},
	{name: "v2 without cpu", files: files{
		"/proc/thread-self/mountinfo":           v2Mounts,
		"/sys/fs/cgroup/cgroup.controllers":     "cpuset cpu io memory pids\n",
		"/sys/fs/cgroup/cgroup.subtree_control": "cpuset io memory\n",
	}, want: []string{"cgroup-controller-off cpu"}, remedy: "echo +cpu >/sys/fs/cgroup/cgroup.subtree_control"},
	{name: "idle v2 of systemd", files: files{
		"/run/systemd/system":                   "dir",
		"/proc/thread-self/mountinfo":           v2Mounts,
		"/sys/fs/cgroup/cgroup.controllers":     "cpuset cpu io memory pids\n",
		"/sys/fs/cgroup/cgroup.subtree_control": "memory pids\n",
	}, want: []string{"cgroup-controller-idle cpu", "cgroup-controller-idle cpuset", "cgroup-controller-idle io"}, remedy: "start a container with a limit"},
	{name: "v1 without cpuacct", files: files{
		"/proc/thread-self/mountinfo": strings.Replace(v1Mounts, "cgroup rw,cpu,cpuacct", "cgroup rw,cpu", 1) + "50 31 0:50 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		"/proc/cgroups":               "cpuacct\t3\t9\t1\n",
	}, want: []string{"cgroup-controller-missing cpuacct"}, remedy: "mount -t cgroup -o cpuacct cpuacct"},
	{name: "v1 without controllers", files: files{
		"/proc/thread-self/mountinfo": strings.NewReplacer("cgroup rw,memory", "cgroup rw,pids", "cgroup rw,cpuset", "cgroup rw,freezer").Replace(v1Mounts),
	}, want: []string{"cgroup-controller-missing memory", "cgroup-controller-missing cpuset"},
		remedy: "mkdir -p /sys/fs/cgroup/memory && mount -t cgroup -o memory memory /sys/fs/cgroup/memory"},
	{name: "no cgroups", files: files{"/proc/thread-self/mountinfo": "41 31 0:40 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n"},
		want: []string{"cgroup-missing /sys/fs/cgroup"}},
	{name: "a mount table that is none", files: files{"/proc/thread-self/mountinfo": "x\n"}, want: []string{"cgroup-missing /proc/thread-self/mountinfo"}},
	{name: "old kernel", files: files{"/proc/sys/kernel/osrelease": "4.18.0-553\n"}, edit: without("kernel-open-tree", "kernel-pidfd", "kernel-openat2", "kernel-idmapped-mounts"),
		want: []string{"kernel-old Linux 4.18.0-553", "kernel-open-tree Linux 4.18.0-553", "kernel-pidfd Linux 4.18.0-553",
			"kernel-openat2 Linux 4.18.0-553", "kernel-idmapped-mounts Linux 4.18.0-553"}, remedy: "boot Linux 5.12 or later"},
	{name: "small kernel", edit: without("kernel-fuse-clone", "kernel-user-namespaces"),
		want: []string{"kernel-fuse-clone Linux 6.18.4", "kernel-user-namespaces Linux 6.18.4"}},
	{name: "no user namespaces", files: files{"/proc/sys/user/max_user_namespaces": "0\n"}, edit: without("kernel-user-namespaces", "kernel-idmapped-mounts"),
		want: []string{"kernel-user-namespaces-off /proc/sys/user/max_user_namespaces"}, remedy: "sysctl -w user.max_user_namespaces="},
	{name: "no FUSE", files: files{"/proc/filesystems": "nodev\tfusectl\n\tfuseblk\n", "/dev/fuse": "none",
		"/proc/thread-self/mountinfo": strings.Replace(v1Mounts, "fusectl fusectl", "tmpfs tmpfs", 1)},
		want: []string{"fuse-missing fuse", "fuse-device /dev/fuse", "fuse-control /sys/fs/fuse/connections"}, remedy: "modprobe fuse"},
	{name: "no FUSE under systemd", files: files{"/run/systemd/system": "dir", "/proc/filesystems": "nodev\tproc\n"},
		want: []string{"fuse-missing fuse"}, remedy: "modprobe fuse && mkdir -p /etc/modules-load.d && echo fuse >/etc/modules-load.d/fuse.conf"},
	{name: "no device", files: files{"/dev/fuse": "text", "/proc/filesystems": "none"},
		want: []string{"fuse-missing /proc/filesystems", "fuse-device /dev/fuse"}, remedy: "mknod -m 666 /dev/fuse c 10 229"},
}

var lxcfsScenarios = []scenario{
	{name: "not mounted", edit: probed(probe.Result{State: probe.NotMounted, Reason: "nothing is mounted there"}),
		want: []string{"lxcfs-not-mounted /var/lib/lxc/lxcfs"}, remedy: "lxcfs-toolkit prestart && (lxcfs /var/lib/lxc/lxcfs "},
	{name: "dead under systemd", files: withSystemd, edit: probed(probe.Result{State: probe.Dead}),
		want: []string{"lxcfs-dead /var/lib/lxc/lxcfs"}, remedy: "systemctl restart lxcfs || journalctl --unit lxcfs --lines 20"},
	{name: "wedged", edit: probed(probe.Result{State: probe.Wedged, PID: 70, Device: sys.DeviceNumber{Minor: 44}}),
		want: []string{"lxcfs-wedged /var/lib/lxc/lxcfs"}, remedy: "kill -9 70; echo 1 >/sys/fs/fuse/connections/44/abort; sleep 1; lxcfs-toolkit prestart && "},
	{name: "wedged without fusectl", files: files{"/proc/thread-self/mountinfo": strings.Replace(v1Mounts, "fusectl fusectl", "tmpfs tmpfs", 1)},
		edit: probed(probe.Result{State: probe.Wedged}), want: []string{"fuse-control /sys/fs/fuse/connections", "lxcfs-wedged /var/lib/lxc/lxcfs"},
		remedy: "mount -t fusectl fusectl /sys/fs/fuse/connections && echo 1 >"},
	{name: "wedged under systemd", files: withSystemd, edit: probed(probe.Result{State: probe.Wedged, PID: 70}),
		want: []string{"lxcfs-wedged /var/lib/lxc/lxcfs"}, remedy: "systemctl kill --signal=KILL lxcfs; sleep 1; systemctl start lxcfs || journalctl --unit lxcfs --lines 20"},
	{name: "not enabled", files: files{"/run/systemd/system": "dir",
		"/usr/lib/systemd/system/lxcfs.service": withSystemd["/usr/lib/systemd/system/lxcfs.service"]},
		want: []string{"lxcfs-not-enabled lxcfs.service"}, remedy: "systemctl enable lxcfs"},
	{name: "the C version", edit: probed(probe.Result{State: probe.Healthy}), want: []string{"lxcfs-other /var/lib/lxc/lxcfs"}},
	{name: "no worker, other version", edit: probed(probe.Result{State: probe.Healthy, Server: &probe.Status{PID: 7, Version: "v9"}}),
		want: []string{"lxcfs-no-worker /var/lib/lxc/lxcfs"}},
	{name: "replaced on the disk", files: files{"/proc/70/exe": "->/usr/bin/lxcfs (deleted)"},
		edit: probed(probe.Result{State: probe.Healthy, Server: &probe.Status{PID: 70, Worker: 71, Version: "v0.1"}}),
		want: []string{"lxcfs-outdated /var/lib/lxc/lxcfs"}, remedy: "lxcfs-toolkit upgrade"},
	{name: "removed from the disk", files: files{"/proc/70/exe": "->/usr/bin/lxcfs (deleted)", "/usr/bin/lxcfs": "none"},
		want: []string{"lxcfs-program-gone /usr/bin/lxcfs"}},
	{name: "a container's lxcfs is not run", files: files{"/proc/70/ns/mnt": "->mnt:[2]"},
		edit: probed(probe.Result{State: probe.Healthy, Server: &probe.Status{PID: 70, Worker: 71, Version: "v0.1"}}),
		want: []string{"lxcfs-versions-differ /var/lib/lxc/lxcfs"}},
	{name: "nor one that others may write", files: files{"/usr/bin/lxcfs": "open"},
		edit: probed(probe.Result{State: probe.Healthy, Server: &probe.Status{PID: 70, Worker: 71, Version: "v0.1"}}),
		want: []string{"lxcfs-versions-differ /var/lib/lxc/lxcfs"}},
}

var containerScenarios = []scenario{
	{name: "containers", edit: listed(toolkit.List{
		Containers: []toolkit.Listed{
			{ID: "a", Alive: []string{"/proc/meminfo", "/proc/stat"}},
			{ID: "b", Names: []string{"web"}, Engine: "docker", Alive: []string{"/proc/meminfo"}, Dead: []string{"/proc/stat"}},
			{ID: "c"}, {ID: "d", HostMounts: true}, {ID: "e", Alive: []string{"/proc/meminfo"}}, {ID: "f", Error: "too many mounts"},
		},
		Skipped: []engine.Skipped{{Source: "docker at /run/docker.sock", Error: "deadline"}, {Source: "runc", Error: "/run/runc/x/state.json: odd"}},
	}), want: []string{"engine-silent docker at /run/docker.sock", "engine-silent runc", "check-incomplete f", "container-files-dead docker web b",
		"container-files-missing c", "container-files-incomplete e"}, remedy: "lxcfs-toolkit remount --container-id b"},
	{name: "single files of the CPU directory", edit: both(
		mounted(map[string]probe.Result{unitMountpoint: serving("proc/stat", "sys/devices/system/cpu")}),
		listed(toolkit.List{Containers: []toolkit.Listed{
			{ID: "new", Alive: []string{"/proc/stat", "/sys/devices/system/cpu"}},
			{ID: "old", Alive: []string{"/proc/stat", "/sys/devices/system/cpu/offline", "/sys/devices/system/cpu/online"}},
		}})), want: []string{"container-files-incomplete old"}, remedy: "lxcfs-toolkit remount --container-id old"},
	{name: "an engine of systemd's", files: files{"/run/systemd/system": "dir", "/lib/systemd/system/docker.service": ""},
		edit:   listed(toolkit.List{Skipped: []engine.Skipped{{Source: "docker at /run/docker.sock", Error: "deadline"}}}),
		want:   []string{"engine-silent docker at /run/docker.sock"},
		remedy: "journalctl --no-pager --unit docker.service --lines 50 # as a last resort restart it, which stops its containers unless it has live-restore"},
	{name: "an engine without systemd", edit: listed(toolkit.List{Skipped: []engine.Skipped{{Source: "docker at /run/docker.sock", Error: "deadline"}}}),
		want: []string{"engine-silent docker at /run/docker.sock"}, remedy: "as a last resort restart docker, which stops its containers unless it has live-restore"},
	{name: "containers that have not asked", files: files{"/etc/docker/daemon.json": strings.Replace(daemonJSON, `"lxcfs"`, `"runc"`, 1)},
		edit: listed(toolkit.List{Containers: append(slices.Repeat([]toolkit.Listed{{ID: "a", Engine: "docker"}}, maxNamed+2), toolkit.Listed{ID: "r", Engine: "runc"})}),
		want: slices.Concat(slices.Repeat([]string{"container-left-out docker a"}, maxNamed),
			[]string{"container-left-out more containers", "container-files-missing runc r", "hook-optional docker"})},
}

var policyScenarios = []scenario{
	{name: "good policies", files: files{"/var/lib/authz-broker/policy.json": goodPolicy}},
	{name: "no policies", files: files{"/usr/bin/authz-broker": ""}, want: []string{"policy-missing /var/lib/authz-broker/policy.json"}},
	{name: "the default", files: files{"/var/lib/authz-broker/policy.json": `{"name":"default","local":true,"actions":[""]}` + "\n"},
		edit: answering("/run/isulad/plugins/authz-broker.sock"), want: []string{"policy-default /var/lib/authz-broker/policy.json"}},
	{name: "the default, unused", files: files{"/var/lib/authz-broker/policy.json": `{"name":"default","local":true,"actions":[""]}` + "\n"}},
	{name: "the page's policies", files: files{"/var/lib/authz-broker/policy.json": pagePolicy}, want: []string{
		"policy-plain /var/lib/authz-broker/policy.json:1", "policy-plain /var/lib/authz-broker/policy.json:2", "policy-plain /var/lib/authz-broker/policy.json:3"}},
	{name: "many policies", files: files{"/var/lib/authz-broker/policy.json": manyPolicies(maxNamed + 3)}, want: append(
		plainLines(maxNamed), "policy-plain /var/lib/authz-broker/policy.json")},
	{name: "broken policies", files: files{"/var/lib/authz-broker/policy.json": "{}\n{\"x\":1}\n[]\n"},
		want: []string{"policy-broken /var/lib/authz-broker/policy.json"}, remedy: "authz-broker check /var/lib/authz-broker/policy.json"},
	{name: "doubtful policies", files: files{"/var/lib/authz-broker/policy.json": `open` + "\n" +
		`{"name":"all","users":["alice"],"actions":["container","docker_"]}` + "\n"},
		want:   []string{"policy-writable /var/lib/authz-broker/policy.json", "policy-doubtful /var/lib/authz-broker/policy.json:2"},
		remedy: "chmod go-w /var/lib/authz-broker/policy.json"},
}

// manyPolicies are those of n users who may do everything, and plainLines what is found of them.
func manyPolicies(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"name":"p","users":["u%d"],"actions":[""]}`+"\n", i)
	}
	return text.String()
}

func plainLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("policy-plain /var/lib/authz-broker/policy.json:%d", i+1))
	}
	return lines
}

// pagePolicy is that of docs/engines/docker.md.
const pagePolicy = `{"name":"host","local":true,"actions":[""]}
{"name":"operators","users":["alice"],"actions":[""]}
{"name":"watchers","users":["bob"],"actions":["container","docker_"],"readonly":true}
`

var usernsScenarios = []scenario{
	{name: "good ids", files: files{"/etc/subuid": "# x\n\na:100000:65536\nb:165536:65536\n1000:231072:1\n", "/etc/subgid": "a:100000:65536\na:110000:5\n"}},
	{name: "ids given twice", files: files{"/etc/subuid": "a:100000:65536\nb:300000:5\na:200000:65536\nc:200010:2\n", "/etc/subgid": "a:1\n:1:1\na:b:1\na:1:0\na:4294967295:2\n"},
		want: []string{"subid-overlap /etc/subuid", "subid-broken /etc/subgid"}, remedy: "change line 4"},
	{name: "the ids of LXD", files: files{"/etc/subuid": "root:1000000:1000000000\nlxd:1000000:1000000000\n"}},
	{name: "ids of LXD that are another's", files: files{"/etc/subuid": "lxd:1000000:1000000000\na:1000000:65536\n"}, want: []string{"subid-overlap /etc/subuid"}},
	{name: "a user by name and number", files: files{"/etc/passwd": passwd, "/etc/subuid": "alice:100000:65536\n1000:100000:65536\n", "/etc/subgid": "1000:100000:65536\n"}},
	{name: "the number of another user", files: files{"/etc/passwd": passwd, "/etc/subuid": "bob:100000:65536\n1000:100000:65536\n"}, want: []string{"subid-overlap /etc/subuid"}},
	{name: "dockerd with a number", files: files{"/etc/docker/daemon.json": remappedTo("1000"), "/etc/passwd": passwd,
		"/etc/subuid": "alice:100000:65536\n", "/etc/subgid": "1000:100000:65536\n"}},
	{name: "dockerd with a group", files: files{"/etc/docker/daemon.json": remappedTo("alice:staff"), "/etc/passwd": passwd,
		"/etc/subuid": "1000:100000:65536\n", "/etc/subgid": "staff:100000:65536\n"}},
	{name: "dockerd before its first start", files: files{"/etc/docker/daemon.json": remappedTo("default"), "/etc/passwd": passwd, "/etc/subuid": ""}},
	{name: "dockerd as root", files: files{"/etc/docker/daemon.json": remappedTo("root"), "/etc/passwd": passwd, "/etc/subuid": ""}},
	{name: "no ids for a number", files: files{"/etc/docker/daemon.json": remappedTo("1001:1001"), "/etc/passwd": passwd, "/etc/subuid": "1001:100000:65536\n"},
		want: []string{"subid-missing /etc/subgid"}, remedy: "echo bob:100000:65536 >>/etc/subgid # then restart dockerd"},
	{name: "no ids for dockerd", files: files{"/etc/docker/daemon.json": remappedTo("default"), "/etc/passwd": passwd + "dockremap:x:101:101::/:/bin/false\n", "/etc/subuid": "x:100000:70000\n"},
		want: []string{"subid-missing /etc/subuid", "subid-missing /etc/subgid"}, remedy: "echo dockremap:170000:65536 >>/etc/subuid # then restart dockerd"},
}

const passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nodd\nbob:x:1001:1001::/:/bin/sh\n"

// remappedTo is Docker's configuration for a user.
func remappedTo(user string) string {
	return strings.Replace(daemonJSON, "{", `{"userns-remap":"`+user+`",`, 1)
}
