package doctor

import (
	"strings"
	"testing"

	"palisade/internal/cli/version"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// serving is a healthy lxcfs of this version with the files.
func serving(files ...string) probe.Result {
	return probe.Result{State: probe.Healthy, PID: 70, Files: files,
		Server: &probe.Status{PID: 70, Worker: 71, Version: version.String()}}
}

// lxcfsAt is a mount table of v1 with an lxcfs on each mount point. What follows a mount point and
// a blank is its device.
func lxcfsAt(points ...string) string {
	var table strings.Builder
	table.WriteString(v1Mounts)
	for i, p := range points {
		point, device, ok := strings.Cut(p, " ")
		if !ok {
			device = "0:" + string(rune('1'+i)) + "00"
		}
		table.WriteString("9" + string(rune('0'+i)) + " 23 " + device + " / " + point + " rw - fuse.lxcfs lxcfs rw\n")
	}
	return table.String()
}

// debianUnit is that of Debian's lxcfs, in a world with systemd.
var debianUnit = files{
	"/run/systemd/system":                   "dir",
	"/usr/lib/systemd/system/lxcfs.service": "ExecStart=/usr/bin/lxcfs /var/lib/lxcfs\n",
	"/proc/thread-self/mountinfo":           lxcfsAt("/var/lib/lxcfs"),
}

var cVersion = probe.Result{State: probe.Healthy, Files: []string{"proc/meminfo"}}

var besideScenarios = []scenario{
	{name: "Debian's lxcfs alone", files: debianUnit, edit: mounted(map[string]probe.Result{"/var/lib/lxcfs": cVersion}),
		want: []string{"lxcfs-elsewhere /var/lib/lxcfs"}, remedy: "do not stop or restart it"},
	{name: "Debian's lxcfs alone, enabled", files: files{"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxcfs"),
		"/run/systemd/system": "dir", "/usr/lib/systemd/system/lxcfs.service": debianUnit["/usr/lib/systemd/system/lxcfs.service"],
		"/etc/systemd/system/multi-user.target.wants/lxcfs.service": "->/usr/lib/systemd/system/lxcfs.service"},
		edit: mounted(map[string]probe.Result{"/var/lib/lxcfs": cVersion}), want: []string{"lxcfs-elsewhere /var/lib/lxcfs"}},
	{name: "this unit serves elsewhere", files: merge(withSystemd, files{
		"/proc/thread-self/mountinfo":                                    lxcfsAt("/var/lib/lxcfs"),
		"/sys/fs/cgroup/systemd/system.slice/lxcfs.service/cgroup.procs": "70\n71\n",
	}), edit: mounted(map[string]probe.Result{"/var/lib/lxcfs": cVersion}), want: []string{"lxcfs-elsewhere /var/lib/lxcfs"}},
	{name: "this lxcfs at another mount point", files: files{"/proc/thread-self/mountinfo": lxcfsAt("/srv/lxcfs")},
		edit: mounted(map[string]probe.Result{"/srv/lxcfs": serving("proc/meminfo")}),
		want: []string{"lxcfs-elsewhere /srv/lxcfs"}, remedy: "palisade --mountpoint /srv/lxcfs doctor"},
	{name: "this unit ended beside Incus's lxcfs", files: merge(withSystemd, files{
		"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/incus-lxcfs"),
	}), edit: mounted(map[string]probe.Result{"/var/lib/incus-lxcfs": cVersion}),
		want:   []string{"lxcfs-not-mounted /var/lib/lxc/lxcfs", "lxcfs-beside /var/lib/incus-lxcfs"},
		remedy: "systemctl restart lxcfs"},
	{name: "bind mounts are one lxcfs", files: files{
		"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs 0:77", "/var/lib/lxcfs 0:77", "/var/lib/incus-lxcfs 0:77")}},
	{name: "another beside this lxcfs, at two places", files: files{
		"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs 0:77", "/var/lib/lxcfs 0:78", "/mnt/lxcfs 0:78")},
		edit: mounted(map[string]probe.Result{unitMountpoint: serving("proc/meminfo"), "/var/lib/lxcfs": cVersion}),
		want: []string{"lxcfs-beside /var/lib/lxcfs, /mnt/lxcfs"}, remedy: "keep it running"},
	{name: "dead beside this lxcfs", files: files{
		"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs 0:77", "/var/lib/lxcfs 0:78", "/mnt/l 0:79")},
		edit: mounted(map[string]probe.Result{unitMountpoint: serving("proc/meminfo"), "/var/lib/lxcfs": {State: probe.Dead},
			"/mnt/l": {State: probe.Wedged}}),
		want:   []string{"lxcfs-beside-fails /var/lib/lxcfs", "lxcfs-beside-fails /mnt/l"},
		remedy: "lxcfs-toolkit bind /var/lib/lxcfs && lxcfs-toolkit remount --all"},
	{name: "Debian's lxcfs is dead", files: debianUnit, edit: mounted(map[string]probe.Result{"/var/lib/lxcfs": {State: probe.Dead}}),
		want: []string{"lxcfs-not-mounted /var/lib/lxc/lxcfs", "lxcfs-beside-fails /var/lib/lxcfs"}, remedy: "start its service again"},
	{name: "switched off", edit: func(t testing.TB, w *World) {
		off := serving("proc/meminfo")
		off.Server.IsOff = true
		probed(off)(t, w)
	}, want: []string{"lxcfs-switched-off /var/lib/lxc/lxcfs"}, remedy: "kill -USR2 70"},
	{name: "files of another lxcfs", files: files{
		"/proc/thread-self/mountinfo": lxcfsAt("/var/lib/lxc/lxcfs 0:77", "/var/lib/lxcfs 0:78")},
		edit: both(mounted(map[string]probe.Result{unitMountpoint: serving("proc/meminfo", "proc/stat"), "/var/lib/lxcfs": cVersion}),
			listed(toolkit.List{Containers: []toolkit.Listed{{ID: "a", Alive: []string{"/proc/meminfo"}}, {ID: "b", Alive: []string{"/proc/stat"}}}})),
		want: []string{"lxcfs-beside /var/lib/lxcfs", "container-files-incomplete b"}},
}
