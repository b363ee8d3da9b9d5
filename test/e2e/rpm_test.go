//go:build integration

package e2e

import (
	"strings"
	"testing"
)

const rpmIntro = `What of the operator's way is another one with rpms: they come in the place of others, are upgraded and removed under a container.`

// TestRPMStory is the part of it that is another one with rpms: where they are installed, upgraded and removed.
func TestRPMStory(t *testing.T) {
	tellStory(t, rpms, &report{title: "From the rpms to nothing", path: "e2e-rpm", intro: rpmIntro}, []part{
		{"In place of others", "The packages take the place of lxcfs, lxcfs-tools and authz of a distribution, whose services run, and are enabled.", (*story).replace},
		{"A system container by runc", "Its root is an ordinary user of the host, and `hookspec.json` gives it its own `/proc`.", (*story).runRunc},
		{"Upgrade", "All packages at once, while the container reads, and with a mistake in the policies.", (*story).upgradeWithMistake},
		{"Remove", "The packages go while the container runs; it gets the host's files, and only the policies are left.", (*story).removeRPMs},
	})
}

// noPreset is the preset of distributions that have rpms.
const noPreset = "/etc/systemd/system-preset/00-none.preset"

// replace installs the first version over packages whose place it takes.
func (s *story) replace() {
	s.file(noPreset, "disable *\n")
	s.bootFirst()
	s.add("old", 3)
	s.do("systemctl", "enable", "--now", "lxcfs", "authz")
	s.add("first", len(packages))
	s.see(len(strings.Fields(s.do("rpm", "-qa"))) == len(packages), "the others are gone")
	for _, unit := range services {
		_, err := s.run("systemctl", "is-enabled", "--quiet", unit)
		s.see(err == nil, "%s is enabled", unit)
	}
	s.servicesRun()
	s.do("lxcfs-toolkit", "check-lxcfs")
	s.checkDefaultPolicy()
}

// upgradeWithMistake installs the later version over the first, where the broker would not start again.
func (s *story) upgradeWithMistake() {
	s.file(policyFile, "{}\n")
	first, broker := s.server(), s.mainPID("authz-broker")
	out := s.add("later", len(packages))
	now := s.server()
	s.see(now.Version != first.Version && now.Worker != first.Worker && now.PID == first.PID, "the worker is of %s, and was of %s; its supervisor stays", now.Version, first.Version)
	s.readsGoOn()
	s.see(s.mainPID("authz-broker") == broker && strings.Contains(out, "authz-broker continues"), "the broker is left alone, which would not start with that")
	s.checkDefaultPolicy()
	s.file(policyFile, policies)
	s.do("systemctl", "restart", "authz-broker")
	s.see(strings.Contains(s.ask(`{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/info"}`), `"Allow":true`), "the broker knows alice, once that is mended")
	s.stillMounted()
}

// removeRPMs takes the packages away under the container.
func (s *story) removeRPMs() {
	s.endReads()
	s.removePackages()
}
