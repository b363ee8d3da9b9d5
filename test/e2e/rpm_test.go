//go:build integration

package e2e

import (
	"strings"
	"testing"
)

const rpmIntro = `The steps that differ with rpms: they replace other packages, and are upgraded and removed under a container.`

// TestRPMStory runs the steps that differ with rpms: installation, upgrade and removal.
func TestRPMStory(t *testing.T) {
	runStory(t, rpms, &report{title: "From the rpms to nothing", path: "e2e-rpm", intro: rpmIntro}, []part{
		{"Replace", "The packages replace lxcfs, lxcfs-tools and authz of a distribution, whose services run and are enabled.", (*story).replace},
		{"A system container by runc", "Its root is an unprivileged user of the host, and `hookspec.json` gives it its own `/proc`.", (*story).runRunc},
		{"Upgrade", "All packages at once, while the container reads, with invalid policies.", (*story).upgradeWithMistake},
		{"Remove", "The packages are removed while the container runs; it gets the host's files, and only the policies remain.", (*story).removeRPMs},
	})
}

// noPreset is a preset that disables all units, as of distributions with rpms.
const noPreset = "/etc/systemd/system-preset/00-none.preset"

// replace installs the first version over the packages that it replaces.
func (s *story) replace() {
	s.file(noPreset, "disable *\n")
	s.bootFirst()
	s.add("old", 3)
	s.do("systemctl", "enable", "--now", "lxcfs", "authz")
	s.add("first", len(packages))
	s.check(len(strings.Fields(s.do("rpm", "-qa"))) == len(packages), "the old packages are removed")
	for _, unit := range services {
		_, err := s.Exec("systemctl", "is-enabled", "--quiet", unit)
		s.check(err == nil, "%s is enabled", unit)
	}
	s.servicesRun()
	s.do("lxcfs-toolkit", "check-lxcfs")
	s.checkDefaultPolicy()
}

// upgradeWithMistake installs the later version with policies with which the broker cannot start.
func (s *story) upgradeWithMistake() {
	s.file(policyFile, "{}\n")
	first, broker := s.server(), s.mainPID("authz-broker")
	out := s.add("later", len(packages))
	now := s.server()
	s.check(now.Version != first.Version && now.Worker != first.Worker && now.PID == first.PID, "the worker has version %s instead of %s, and the same supervisor", now.Version, first.Version)
	s.readsContinue()
	s.check(s.mainPID("authz-broker") == broker && strings.Contains(out, "authz-broker continues"), "the broker, which could not start with the policies, is not restarted")
	s.checkDefaultPolicy()
	s.file(policyFile, policies)
	s.do("systemctl", "restart", "authz-broker")
	s.check(strings.Contains(s.ask(`{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/info"}`), `"Allow":true`), "the broker allows alice's request with valid policies")
	s.stillMounted()
}

// removeRPMs removes the packages under the container.
func (s *story) removeRPMs() {
	s.endReads()
	s.removePackages()
}
