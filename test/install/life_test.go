//go:build integration

package install

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/internal/ops/doctor"
	"palisade/test/ctr"
)

// TestLife installs lxcfs under a pod that runs, replaces the agent, upgrades, reboots, and
// uninstalls.
func TestLife(t *testing.T) {
	n := newNode(t)
	before := n.files()
	agent := n.startAgent(first)
	n.waitForVersion(first)
	n.waitForOwn()
	n.waitFor("the agent to be ready", func() bool { return n.readiness() == "ok" })
	n.waitFor("doctor to find no problem", func() bool { return len(n.problems()) == 0 })
	if state := strings.TrimSpace(n.must("systemctl", "is-enabled", unit)); state != "enabled" {
		t.Errorf("the unit is %s", state)
	}
	n.must(dir+"/current/lxcfs-toolkit", "umount", "--all")
	n.cure("container-files-missing")
	if got := n.memTotal(); got != own {
		t.Errorf("after the remedy of doctor the pod reads %q, want %q", got, own)
	}
	stop := n.reader()

	was := n.server()
	n.endAgent(agent, "KILL")
	if got := n.problems(); !slices.Contains(got, "nri-agent-gone") {
		t.Errorf("after the agent was killed doctor finds %q", got)
	}
	agent = n.startAgent(first)
	n.waitFor("the agent to be ready", func() bool { return n.readiness() == "ok" })
	if now := n.server(); now.PID != was.PID || now.Worker != was.Worker {
		t.Errorf("an agent of the same version has changed lxcfs from %+v to %+v", was, now)
	}

	n.endAgent(agent, "TERM")
	agent = n.startAgent(later)
	n.waitForVersion(later)
	n.waitFor("the agent to be ready", func() bool { return n.readiness() == "ok" })
	if now := n.server(); now.PID != was.PID || now.Worker == was.Worker {
		t.Errorf("the upgrade has changed lxcfs from %+v to %+v", was, now)
	}
	n.waitFor("the agent to remove the earlier version", func() bool {
		versions, err := filepath.Glob(n.Path(dir + "/versions/*"))
		return err == nil && len(versions) == 1
	})

	was = n.server()
	n.must("systemctl", "kill", "--signal=KILL", unit)
	n.waitFor("systemd to start lxcfs again", func() bool {
		now := n.server()
		return now.Version == later && now.PID != was.PID
	})
	reads := stop()
	t.Logf("%d reads", reads)
	if reads < 10 {
		t.Errorf("only %d reads", reads)
	}
	n.waitForOwn()

	n.endAgent(agent, "KILL")
	n.must("systemctl", "enable", "containerd")
	// Its processes ignore SIGTERM.
	n.crictl("rmp", "--force", "--all")
	if err := n.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := n.Boot("multi-user.target"); err != nil {
		t.Fatal(err)
	}
	if n.server().Version != later || !n.activeBefore(unit, "containerd.service") {
		t.Errorf("after a reboot lxcfs does not serve before containerd is started: %+v", n.server())
	}

	n.uninstall("uninstalled lxcfs")
	n.must("systemctl", "disable", "containerd")
	for _, file := range n.files() {
		if !slices.Contains(before, file) {
			t.Errorf("left behind: %s", file)
		}
	}
	n.uninstall("nothing is installed")
}

// doctor returns the report of palisade doctor.
func (n *node) doctor() (report doctor.Report) {
	n.t.Helper()
	out, _ := n.Exec("sh", "-c", "/palisade --json doctor --engine containerd 2>/dev/null")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		n.t.Fatalf("doctor: %v: %s", err, out)
	}
	return report
}

// problems returns the problems of lxcfs and the agent that palisade doctor finds.
func (n *node) problems() (ids []string) {
	n.t.Helper()
	report := n.doctor()
	for _, f := range append(report.Of(doctor.Error), report.Of(doctor.Warning)...) {
		part, _, _ := strings.Cut(f.ID, "-")
		if slices.Contains([]string{"nri", "hook", "lxcfs", "container"}, part) {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// cure executes the remedy of doctor for its finding.
func (n *node) cure(id string) {
	n.t.Helper()
	report := n.doctor()
	i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.ID == id })
	if i < 0 {
		n.t.Fatalf("doctor does not find %s: %+v", id, report.Findings)
	}
	n.must("sh", "-c", report.Findings[i].Remedy)
}

func (n *node) activeBefore(one, other string) bool {
	at := func(unit string) string {
		out := n.must("systemctl", "show", "--property", "ActiveEnterTimestampMonotonic", "--value", unit)
		return strings.TrimSpace(out)
	}
	a, b := at(one), at(other)
	return a != "0" && (len(a) < len(b) || len(a) == len(b) && a < b)
}

// uninstall uninstalls lxcfs, by the first version, and checks the message.
func (n *node) uninstall(want string) {
	n.t.Helper()
	all := []string{"--enter-host", "--install", "--log-level", "--log-format", "--socket",
		"--plugin-index", "--default", "--off-namespace", "--metrics"}
	pod := n.startAgentPod(first, all, "--enter-host", "--install="+dir, "uninstall", "--stay")
	n.waitFor("uninstall to say "+want, func() bool {
		return strings.Contains(n.ReadFile("/home/"+n.agentLog()), want)
	})
	n.endAgent(pod, "TERM")
}

// TestNodeRestarts shuts a node down, and cuts its power. The kubelet then starts all pods again, in
// any order.
func TestNodeRestarts(t *testing.T) {
	n := newNode(t)
	n.must("systemctl", "enable", "containerd")
	n.startAgent(first)
	n.waitForOwn()
	for _, tt := range []struct {
		name string
		end  func() error
	}{
		{"power failure", func() error { n.Kill(); return nil }},
		{"shutdown", func() error {
			n.crictl("rmp", "--force", "--all") // its processes ignore SIGTERM
			return n.PowerOff()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.end(); err != nil {
				t.Fatal(err)
			}
			if err := n.Boot("multi-user.target"); err != nil {
				t.Fatal(err)
			}
			n.waitFor("containerd to answer", func() bool {
				_, err := n.Exec("/usr/local/bin/crictl", "version")
				return err == nil
			})
			if running := n.crictl("ps", "--quiet"); running != "" {
				t.Errorf("containers run after the boot: %s", running)
			}
			earlier := n.runPod()
			if got := n.memTotalOf(earlier); got != n.host {
				t.Errorf("a pod that starts before the agent reads %q, want %q", got, n.host)
			}
			n.startAgent(first)
			n.waitFor("the agent to be ready", func() bool { return n.readiness() == "ok" })
			for _, pid := range []string{earlier, n.runPod()} {
				n.waitFor("a pod to read "+own, func() bool { return n.memTotalOf(pid) == own })
			}
			n.waitFor("doctor to find no problem", func() bool { return len(n.problems()) == 0 })
		})
	}
}

// TestUninstallUnderPod checks that a pod reads the node's files after an uninstallation.
func TestUninstallUnderPod(t *testing.T) {
	n := newNode(t)
	agent := n.startAgent(first)
	n.waitForOwn()
	n.endAgent(agent, "TERM")
	n.uninstall("uninstalled lxcfs")
	if got := n.memTotal(); got != n.host {
		t.Errorf("the pod reads %q, want %q", got, n.host)
	}
	if text := n.ReadFile("/proc/" + n.pid + "/mountinfo"); strings.Contains(text, "lxcfs") {
		t.Errorf("the pod has mounts of lxcfs: %s", text)
	}
}

// TestBrokenVersion upgrades to a version whose lxcfs does not start: the old one serves on, and
// stays the current one.
func TestBrokenVersion(t *testing.T) {
	n := newNode(t)
	agent := n.startAgent(first)
	n.waitForVersion(first)
	n.waitForOwn()
	n.endAgent(agent, "TERM")
	was, current := n.server(), n.current()
	n.startAgent(broken)
	n.waitFor("the agent to report the failure", func() bool {
		return strings.Contains(n.readiness(), "reload "+unit)
	})
	if now := n.server(); now.Worker != was.Worker || now.PID != was.PID {
		t.Errorf("%+v serves, want %+v", now, was)
	}
	if now := n.current(); now != current {
		t.Errorf("the current version is %s, want %s", now, current)
	}
	if got := n.memTotal(); got != own {
		t.Errorf("the pod reads %q, want %q", got, own)
	}
	n.must("systemctl", "kill", "--signal=KILL", unit)
	n.waitFor("the old version to start again", func() bool {
		now := n.server()
		return now.Version == first && now.PID != was.PID
	})
}

// TestKilledAgents kills agents of two versions while they install: the current version is always
// whole, and the next agent succeeds.
func TestKilledAgents(t *testing.T) {
	n := newNode(t)
	for i := range ctr.Repeat(20, 200) {
		image := []string{first, later}[i%2]
		agent := n.startAgent(image)
		time.Sleep(time.Duration(i%20) * 15 * time.Millisecond)
		n.endAgent(agent, "KILL")
		n.checkCurrent()
	}
	n.startAgent(first)
	n.startAgent(first) // at the same time
	n.waitForVersion(first)
	n.waitForOwn()
	n.waitFor("only the current version to be left", func() bool {
		left, err := filepath.Glob(n.Path(dir + "/*"))
		versions, err2 := filepath.Glob(n.Path(dir + "/versions/*"))
		return err == nil && err2 == nil && len(left) == 2 && len(versions) == 1
	})
}

// checkCurrent checks that the current version, if there is one, is whole.
func (n *node) checkCurrent() {
	n.t.Helper()
	target := n.current()
	if target == "" {
		return
	}
	image := first
	if strings.Contains(target, later) {
		image = later
	}
	for _, program := range []string{"lxcfs", "lxcfs-metrics", "lxcfs-toolkit"} {
		installed, err := os.ReadFile(n.Path(filepath.Join(dir, "current", program)))
		want, err2 := os.ReadFile(filepath.Join(layer, image, program))
		if err != nil || err2 != nil || string(installed) != string(want) {
			n.t.Errorf("%s of %s is not that of the image: %v, %v", program, target, err, err2)
		}
	}
	if _, err := os.Stat(n.Path(filepath.Join(dir, "current", unit))); err != nil {
		n.t.Error(err)
	}
}

// TestPackage has a node with lxcfs of a package, and one that gets it later.
func TestPackage(t *testing.T) {
	n := newNode(t)
	agent := n.startAgent(first)
	n.waitForVersion(first)
	n.waitForOwn()
	n.endAgent(agent, "TERM")
	n.installPackage()
	for range 2 { // with an installed lxcfs, then without
		agent := n.startAgent(later)
		n.waitFor("the agent to be ready", func() bool { return n.readiness() == "ok" })
		n.waitForOwn()
		if now := n.server(); now.Version != first {
			t.Errorf("%+v serves, want the package's", now)
		}
		for _, path := range []string{dir, unitPath, wantsPath} {
			if _, err := os.Lstat(n.Path(path)); err == nil {
				t.Errorf("%s exists beside the package", path)
			}
		}
		n.must("systemctl", "is-active", "lxcfs")
		n.endAgent(agent, "TERM")
		n.must("systemctl", "stop", "lxcfs")
	}
	n.uninstall("nothing is installed")
	if _, err := os.Lstat(n.Path("/usr/bin/lxcfs-toolkit")); err != nil {
		t.Error(err)
	}
}

// installPackage installs the files of the package, of the first version.
func (n *node) installPackage() {
	n.t.Helper()
	text, err := os.ReadFile(repository + "/rpm/lxcfs.service")
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.WriteFile("/usr/lib/systemd/system/lxcfs.service", string(text)); err != nil {
		n.t.Fatal(err)
	}
	n.must("cp", "/"+first+"/lxcfs", "/"+first+"/lxcfs-toolkit", "/usr/bin")
	n.must("systemctl", "daemon-reload")
}
