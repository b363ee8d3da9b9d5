//go:build integration

package lxc

import "testing"

// TestLayouts checks names and engines of containers with the configurations and command lines of
// the engines that use LXC.
func TestLayouts(t *testing.T) {
	h := newHost(t)
	h.start(t)
	common := "lxc.include = /usr/share/lxc/config/common.conf.d/"
	cgroup := "lxc.mount.auto = proc:rw sys:rw cgroup:rw:force"
	// Incus and LXD start containers with the library, with which their monitors have the same command
	// lines, and have their own hook for each event.
	incus := []string{
		common, cgroup, "lxc.autodev = 1", "lxc.pty.max = 1024", "lxc.hook.version = 1",
		"lxc.hook.pre-start = /bin/true", "lxc.hook.stop = /bin/true", "lxc.hook.post-stop = /bin/true",
		"lxc.mount.entry = /sys/kernel/debug sys/kernel/debug none rbind,create=dir,optional 0 0",
		"lxc.environment = container=lxc",
	}
	incus = append(incus, idmap()...)
	// As PVE::LXC writes it. The unit pve-container@ runs lxc-start in the foreground.
	proxmox := func(number string) []string {
		return []string{
			"lxc.cgroup.relative = 0", "lxc.cgroup.dir.monitor = lxc.monitor/" + number,
			"lxc.cgroup.dir.container = lxc/" + number, "lxc.cgroup.dir.container.inner = ns",
			"lxc.include = /usr/share/lxc/config/debian.common.conf", "lxc.monitor.unshare = 1",
			"lxc.tty.max = 2", "lxc.environment = TERM=linux",
		}
	}
	mapped := append(idmap(), "lxc.include = /usr/share/lxc/config/debian.userns.conf")
	all := []options{
		{name: "web", engine: "incus", lxcPath: "/var/lib/incus/containers", config: incus},
		{name: "101", engine: "proxmox", foreground: true, config: append(proxmox("101"), mapped...)},
		{name: "plain", engine: "lxc", config: []string{"lxc.include = /usr/share/lxc/config/common.conf"}},
		{name: "100", engine: "proxmox", foreground: true, config: proxmox("100")},
		{name: "project_db", engine: "incus", lxcPath: "/var/lib/incus/containers", config: incus},
		{name: "cache", engine: "lxd", lxcPath: "/var/snap/lxd/common/lxd/containers", config: incus},
		{name: "mail", engine: "lxd", lxcPath: "/var/lib/lxd/containers", config: incus},
	}
	if isEmulated() {
		all = all[:3]
	}
	var containers []*container
	for _, o := range all {
		o.withoutCommon = true
		if o.lxcPath == "" {
			o.lxcPath = "/var/lib/lxc"
		}
		containers = append(containers, h.newContainer(t, o))
	}
	for _, c := range containers {
		h.checkVirtual(t, c)
	}
	h.checkRows(t, containers...)
	// lxcfs finds the containers by their cgroups.
	h.stop(t)
	for _, c := range containers {
		h.checkHost(t, c)
	}
	h.start(t)
	for _, c := range containers {
		h.checkVirtual(t, c)
		if isEmulated() {
			continue
		}
		h.toolkit(t, "umount", "-c", c.name)
		h.checkHost(t, c)
		h.toolkit(t, "remount", "-c", c.name)
		h.checkVirtual(t, c)
	}
	h.checkRows(t, containers...)
}
