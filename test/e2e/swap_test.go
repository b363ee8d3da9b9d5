//go:build integration

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"palisade/test/ctr"
)

const swapIntro = `A host with Debian's LXC and lxcfs: the packages replace lxcfs under
running containers, and are removed under them.`

// TestSwap replaces Debian's lxcfs under containers of LXC.
func TestSwap(t *testing.T) {
	path := "swap-v1"
	if ctr.OnV2() {
		path = "swap-v2"
	}
	r := &report{title: "In the place of Debian's lxcfs", path: path, intro: swapIntro}
	runStory(t, debs, r, []part{
		{"Debian's lxcfs", "It serves a container of LXC.", (*story).runLXC},
		{"Swap", "dpkg replaces it by ours, which then serves the container.", (*story).swap},
		{"Kill", "lxcfs is killed, and stopped and started.", (*story).killSwapped},
		{"Remove", "The packages are removed while containers run.", (*story).removeSwapped},
	})
}

const (
	containersPath = "/srv/lxc"
	lxcConfig      = `lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:/srv/rootfs
lxc.uts.name = NAME
lxc.apparmor.profile = unconfined
lxc.net.0.type = empty
lxc.init.cmd = /bin/sleep 1000000
lxc.cgroup.memory.limit_in_bytes = 64M
lxc.cgroup2.memory.max = 64M
`
	// noCondition lets Debian's unit run in this machine, which is a container.
	noCondition = "/etc/systemd/system/lxcfs.service.d/container.conf"
	ownMemory   = "MemTotal:          65536 kB"
)

// runLXC installs Debian's lxcfs and starts a container.
func (s *story) runLXC() {
	s.bootFirst()
	s.addRootfs("/srv")
	s.file(noCondition, "[Unit]\nConditionVirtualization=\n")
	s.add("old", 1)
	s.do("systemctl", "enable", "--now", "lxcfs")
	s.waitFor("lxcfs is mounted", func() bool {
		return strings.Contains(s.ReadFile("/proc/1/mountinfo"), " /var/lib/lxcfs ")
	})
	s.system = s.startLXC("old")
	s.check(s.firstLine(s.system) == ownMemory, "the container has its own memory")
	s.do("rm", noCondition)
}

// startLXC starts a container of LXC.
func (s *story) startLXC(name string) *guest {
	s.Helper()
	config := strings.ReplaceAll(lxcConfig, "NAME", name)
	if err := s.WriteFile(containersPath+"/"+name+"/config", config); err != nil {
		s.Fatal(err)
	}
	start := "lxc-start -P " + containersPath + " -n " + name + " -o /srv/log </dev/null >/srv/out 2>&1"
	s.do("sh", "-c", start+" || { cat /srv/out /srv/log; exit 1; }")
	g := &guest{name: "the container " + name}
	g.pid = strings.TrimSpace(s.do("lxc-info", "-P", containersPath, "-n", name, "-p", "-H"))
	return g
}

// swap installs the packages, and starts another container.
func (s *story) swap() {
	s.add("first", len(packages))
	_, err := s.Exec("dpkg-query", "--show", "--showformat", "${db:Status-Status}", "lxcfs")
	out, _ := s.Exec("dpkg-query", "-W", "-f", "${db:Status-Status}", "lxcfs") // may be unknown
	s.check(err != nil || out != "installed", "Debian's package is %s", out)
	for _, is := range []string{"is-enabled", "is-active"} {
		_, err := s.Exec("systemctl", is, "--quiet", "lxcfs")
		s.check(err == nil, "lxcfs.service %s", is)
	}
	s.do("lxcfs-toolkit", "check-lxcfs")
	s.web = s.startLXC("new")
	s.checkLXC()
}

// checkLXC checks that both containers are served and listed by name.
func (s *story) checkLXC() {
	s.Helper()
	for _, g := range s.guests() {
		s.check(s.firstLine(g) == ownMemory, "%s has its own memory", g.name)
	}
	var list struct {
		Containers []struct {
			ID, Engine string
			Names      []string
			Dead       []string
		}
	}
	text := s.do("lxcfs-toolkit", "list", "--json")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		s.Fatalf("%v in %s", err, text)
	}
	found := 0
	for _, c := range list.Containers {
		for _, name := range append(c.Names, c.ID) {
			if (name == "old" || name == "new") && c.Engine == "lxc" && len(c.Dead) == 0 {
				found++
				break
			}
		}
	}
	s.check(found == 2 && len(list.Containers) == 2, "list has both by name")
}

// killSwapped kills, stops and starts lxcfs.
func (s *story) killSwapped() {
	s.change("all of lxcfs is killed", true, "systemctl", "kill", "--signal=KILL", "lxcfs")
	s.checkLXC()
	s.do("systemctl", "stop", "lxcfs")
	s.hostFiles()
	s.do("systemctl", "start", "lxcfs")
	s.checkLXC()
}

// removeSwapped removes the packages.
func (s *story) removeSwapped() {
	s.do(append(append([]string{}, s.remover...), packages...)...)
	s.hostFiles()
	mounts := s.ReadFile("/proc/1/mountinfo")
	s.check(!strings.Contains(mounts, "fuse.lxcfs"), "lxcfs is not mounted on the host")
	for _, name := range []string{"old", "new"} {
		s.do("lxc-stop", "-P", containersPath, "-n", name, "-k")
	}
	// Containers start without lxcfs as before.
	g := s.startLXC("last")
	s.web, s.system = g, nil
	s.hostFiles()
	s.do("lxc-stop", "-P", containersPath, "-n", "last", "-k")
}
