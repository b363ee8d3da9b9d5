//go:build integration

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
)

// server returns the status that lxcfs serves.
func (s *story) server() (status struct {
	PID     int    `json:"pid"`
	Worker  int    `json:"worker"`
	Version string `json:"version"`
}) {
	// Readers wait while no process serves.
	json.Unmarshal([]byte(s.ReadFile("/var/lib/lxc/lxcfs/status")), &status) // the zero value on error
	return status
}

// disturb is like change, and then waits until the readers continue.
func (s *story) disturb(what string, all bool, args ...string) {
	s.Helper()
	s.change(what, all, args...)
	s.readsContinue()
}

// change runs a command that restarts lxcfs, and waits until another worker serves, with another
// supervisor if all is set.
func (s *story) change(what string, all bool, args ...string) {
	s.Helper()
	before := s.server()
	s.do(args...)
	s.waitFor(what+": another process serves", func() bool {
		now := s.server()
		return now.Worker != 0 && now.Worker != before.Worker && (now.PID != before.PID) == all
	})
}

// soonEnded is the number of times that lxcfs is terminated and killed directly after its start.
const soonEnded = 5

// killAll kills the worker, the supervisor, both, and the broker.
func (s *story) killAll() {
	now := s.server()
	s.disturb("the worker is killed", false, "kill", "-9", fmt.Sprint(now.Worker))
	s.disturb("the supervisor is killed", true, "kill", "-9", fmt.Sprint(now.PID))
	s.disturb("all of lxcfs is killed", true, "systemctl", "kill", "--signal=KILL", "lxcfs")
	for range soonEnded { // sometimes while it remounts its files in containers
		s.change("all of lxcfs is terminated as soon as it serves", true, "systemctl", "kill", "lxcfs")
		s.change("the supervisor is killed as soon as it serves", true, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "lxcfs")
	}
	s.readsContinue()
	before := s.mainPID("authz-broker")
	s.do("systemctl", "kill", "--signal=KILL", "authz-broker")
	s.docker("bob", "ps", "--quiet")
	s.check(s.mainPID("authz-broker") != before, "a new broker has answered bob")
	s.stillMounted()
}

// stillMounted checks that there is one mount of lxcfs on the host and one in each container.
func (s *story) stillMounted() {
	s.check(strings.Count(s.ReadFile("/proc/1/mountinfo"), " /var/lib/lxc/lxcfs ") == 1, "lxcfs is mounted once")
	for _, g := range s.guests() {
		s.check(strings.Count(s.ReadFile("/proc/"+g.pid+"/mountinfo"), " /proc/meminfo ") == 1, "%s has one mount on its meminfo", g.name)
	}
}

// restartAll restarts and reloads both services.
func (s *story) restartAll() {
	s.disturb("restart", true, "systemctl", "restart", "lxcfs")
	s.disturb("reload", false, "systemctl", "reload", "lxcfs")
	s.do("systemctl", "restart", "authz")
	s.docker("bob", "ps", "--quiet")
	s.do("systemctl", "reload", "authz-broker")
	s.docker("bob", "ps", "--quiet")
	s.stillMounted()
}

// upgrade installs the later version over the first.
func (s *story) upgrade() {
	first, broker, front := s.server(), s.mainPID("authz-broker"), s.mainPID(frontUnit)
	s.add("later", len(packages))
	now := s.server()
	s.check(now.Version != first.Version && now.Worker != first.Worker && now.PID == first.PID, "the worker has version %s instead of %s, and the same supervisor", now.Version, first.Version)
	s.check(s.mainPID("authz-broker") != broker, "a new broker runs")
	s.check(s.mainPID(frontUnit) != front, "a new front runs")
	s.readsContinue()
	s.serves(lxcfsMetrics, `palisade_lxcfs_workers_replaced_total{reason="upgrade"} 1`, `version="`+now.Version+`"`)
	s.serves(brokerMetrics, `version="`+now.Version+`"`)
	s.docker("bob", "ps", "--quiet")
	s.check(s.ReadFile(policyFile) == policies, "the policies are still the operator's")
	s.stillMounted()
}

// bootAgain shuts the machine down and boots it.
func (s *story) bootAgain() {
	s.endCalls()
	s.do("runc", "kill", "system", "KILL")
	s.system.pid = ""
	if err := s.PowerOff(); err != nil {
		s.check(false, "%v", err)
		s.FailNow()
	}
	s.check(true, "the machine is off")
	if err := s.Boot("multi-user.target"); err != nil {
		s.check(false, "%v", err)
		s.FailNow()
	}
	s.check(true, "the machine has booted")
	entered := make(map[string]uint64)
	for _, unit := range []string{"lxcfs.service", "authz-broker.socket", "authz-broker.service", "docker.service"} {
		var at uint64
		out := s.do("systemctl", "show", "--property", "ActiveEnterTimestampMonotonic", "--value", unit)
		if fmt.Sscan(out, &at); at == 0 {
			s.check(false, "%s is not active", unit)
		}
		entered[unit] = at
	}
	for unit, at := range entered {
		if unit != "docker.service" {
			s.check(at < entered["docker.service"], "%s is active before docker.service", unit)
		}
	}
	s.waitFor("Docker's container runs again", func() bool {
		out, err := s.Exec(append(dockerAs("alice"), "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", "web")...)
		running, pid, _ := strings.Cut(strings.TrimSpace(out), " ")
		s.web.pid = pid
		return err == nil && running == "true"
	})
	s.readsContinue()
	total := s.do(append(append([]string{}, s.web.exec...), "head", "-n", "1", "/proc/meminfo")...)
	s.check(strings.HasSuffix(total, " 65536 kB\n"), "it has its own files")
}

// stopAndStart stops lxcfs, after the readers, to which the host's files would be wrong.
func (s *story) stopAndStart() {
	s.startRunc()
	s.endReads()
	s.do("systemctl", "stop", "lxcfs")
	s.hostFiles()
	s.do("systemctl", "start", "lxcfs")
	for _, g := range s.guests() {
		s.check(s.firstLine(g) == "MemTotal:          65536 kB", "%s has its own files again", g.name)
	}
}

// firstLine returns the first line of a container's meminfo.
func (s *story) firstLine(g *guest) string {
	s.Helper()
	out, err := s.Exec("nsenter", "--target", g.pid, "--mount", "--pid", "--root", "/bin/head", "-n", "1", "/proc/meminfo")
	if err != nil {
		s.Fatalf("%s: %v: %s", g.name, err, out)
	}
	return strings.TrimSpace(out)
}

// hostFiles checks that containers have the host's files.
func (s *story) hostFiles() {
	total, _, _ := strings.Cut(s.ReadFile("/proc/meminfo"), "\n")
	for _, g := range s.guests() {
		s.check(s.firstLine(g) == total, "%s has the host's files", g.name)
		s.check(!strings.Contains(s.ReadFile("/proc/"+g.pid+"/mountinfo"), "fuse.lxcfs"), "%s has no mount of lxcfs", g.name)
	}
	s.check(!strings.Contains(s.ReadFile("/proc/1/mountinfo"), "/var/lib/lxc/lxcfs "), "lxcfs is not mounted on the host")
}
