//go:build integration

package install

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"palisade/internal/inject/probe"
	"palisade/test/engine"
)

// node is a machine with containerd and a pod.
type node struct {
	*engine.Machine
	t *testing.T
	// host is the host's MemTotal, pid the process of the pod.
	host, pid string
	agents    int
}

// own is the MemTotal of the pod.
const own = "MemTotal: 262144 kB"

const (
	dir        = "/opt/palisade"
	unit       = "palisade-lxcfs.service"
	unitPath   = "/etc/systemd/system/" + unit
	wantsPath  = "/etc/systemd/system/multi-user.target.wants/" + unit
	mountpoint = "/var/lib/lxc/lxcfs"
	metrics    = "/run/palisade-nri-test.sock"
)

func newNode(t *testing.T) *node {
	n := &node{Machine: engine.NewMachine(t, "../docs/testdata/root.sh", layer), t: t}
	// runc refuses a unified hierarchy beside others.
	n.MountCgroups += "[ ! -e unified ] || umount unified\n"
	if err := n.Boot("systemd-journald.service"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && n.IsOn() {
			n.showLog()
		}
	})
	n.startPod()
	return n
}

// showLog prints what the agents and lxcfs have logged.
func (n *node) showLog() {
	log, _ := n.Exec("journalctl", "--no-pager", "--lines=100", "--output=short-precise",
		"--unit=agent-*", "--unit="+unit, "--unit=lxcfs")
	n.t.Log(log)
}

// startPod starts containerd with one pod.
func (n *node) startPod() {
	n.t.Helper()
	n.session("with_kubernetes_node\ncrictl run --no-pull /home/container.json /home/pod.json")
	n.findPod()
	n.host = n.memTotal()
}

// session runs a script with the functions of the documents' tests. Its processes end with it.
func (n *node) session(script string) {
	n.t.Helper()
	n.must("systemd-run", "--scope", "--quiet", "--property=Delegate=yes",
		"--property=TimeoutStopSec=1", "sh", "-c",
		`printf '%s\n' 'trap - EXIT' "$1" | bash /session.sh`, "sh", script)
}

func (n *node) findPod() {
	n.t.Helper()
	n.pid = strings.TrimSpace(n.must("sh", "-c",
		`PATH=/usr/local/bin:$PATH; crictl inspect "$(crictl ps --quiet --latest)" | jq .info.pid`))
}

// must runs a program in the machine, and returns its output.
func (n *node) must(args ...string) string {
	n.t.Helper()
	out, err := n.Exec(args...)
	if err != nil {
		n.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// memTotal returns the first line of meminfo as the pod reads it.
func (n *node) memTotal() string {
	n.t.Helper()
	out, _ := n.Exec("nsenter", "--target", n.pid, "--mount", "--pid", "--root", "head", "-n", "1",
		"/proc/meminfo") // fails while a dead lxcfs is mounted
	return strings.Join(strings.Fields(out), " ")
}

// waitFor polls a condition. An upgrade that fails takes half a minute.
func (n *node) waitFor(what string, is func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(engine.WaitTime); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

func (n *node) waitForOwn() {
	n.t.Helper()
	n.waitFor("the pod to read "+own, func() bool { return n.memTotal() == own })
}

// startAgent starts the agent of an image as a pod does: in a mount namespace and a root of its
// own, and a cgroup that is killed with it. It returns the unit.
func (n *node) startAgent(image string) string {
	n.t.Helper()
	n.agents++
	name := fmt.Sprintf("agent-%d.service", n.agents)
	n.must(append([]string{"systemd-run", "--quiet", "--service-type=exec", "--unit=" + name},
		inPod(image, "--enter-host", "--install", dir, "--metrics-socket", metrics)...)...)
	return name
}

// capabilities are those of the pod in deploy/helm/palisade.
const capabilities = "-all,+sys_admin,+sys_chroot,+sys_ptrace,+dac_override,+dac_read_search," +
	"+setuid,+setgid"

// inPod returns the command line that runs palisade-nri of an image in a mount namespace and a root
// of its own, with few capabilities.
func inPod(image string, args ...string) []string {
	return append([]string{"unshare", "--mount", "--propagation", "slave", "sh", "-c",
		`mount --rbind /proc "/$0/proc" &&
			exec setpriv --bounding-set ` + capabilities + ` chroot "/$0" /palisade-nri "$@"`,
		image}, args...)
}

// endAgent ends an agent and the processes of its cgroup.
func (n *node) endAgent(name, signal string) {
	n.t.Helper()
	n.Exec("systemctl", "kill", "--signal="+signal, name) // it may have ended
	n.waitFor(name+" to end", func() bool {
		state, _ := n.Exec("systemctl", "is-active", name)
		state = strings.TrimSpace(state)
		return state == "inactive" || state == "failed"
	})
}

// readiness returns the answer of the agent's /readyz.
func (n *node) readiness() string {
	out, _ := n.Exec("curl", "--silent", "--unix-socket", metrics, "http://localhost/readyz")
	return strings.TrimSpace(out)
}

// server returns the status that lxcfs serves, the zero value if none does.
func (n *node) server() (status probe.Status) {
	text, err := n.Exec("timeout", "5", "cat", mountpoint+"/status")
	if err != nil || json.Unmarshal([]byte(text), &status) != nil {
		return probe.Status{}
	}
	return status
}

// current returns the directory of the current version.
func (n *node) current() string {
	target, _ := os.Readlink(n.Path(dir + "/current"))
	return target
}

// waitForVersion waits until lxcfs of a version serves, and is the current one.
func (n *node) waitForVersion(version string) {
	n.t.Helper()
	n.waitFor("version "+version+" to serve", func() bool {
		return n.server().Version == version && strings.Contains(n.current(), version)
	})
}

// reader reads in the pod until stop, which returns the number of reads. Each must show the pod's
// value.
func (n *node) reader() (stop func() int) {
	n.t.Helper()
	n.must("systemd-run", "--quiet", "--unit=reader", "nsenter", "--target", n.pid, "--mount", "--pid",
		"--root", "sh", "-c",
		`n=0; while [ ! -e /stop ]; do n=$((n + 1))
		read -r name value unit </proc/meminfo && [ "$name $value" = "MemTotal: 262144" ] ||
			echo "$n: $name $value" >>/failed
		echo $n >/reads; done`)
	return func() int {
		n.t.Helper()
		root := "/proc/" + n.pid + "/root"
		if err := os.WriteFile(n.Path(root+"/stop"), nil, 0o644); err != nil {
			n.t.Error(err)
		}
		n.waitFor("the reader to end", func() bool {
			state, _ := n.Exec("systemctl", "is-active", "reader")
			return strings.TrimSpace(state) != "active"
		})
		if text, err := os.ReadFile(n.Path(root + "/failed")); err == nil {
			n.t.Errorf("wrong or failed reads: %.1000s", text)
			n.showLog()
		}
		reads := 0
		fmt.Sscan(n.ReadFile(root+"/reads"), &reads)
		os.Remove(n.Path(root + "/stop"))
		return reads
	}
}

// files lists what an installation makes.
func (n *node) files() []string {
	n.t.Helper()
	return strings.Split(n.must("sh", "-c", `cd /etc/systemd/system
		ls -lA --time-style=+ /opt . *.wants /run/systemd/system 2>/dev/null
		find /opt /var/lib/lxc /run/lxcfs /run/lxcfs-toolkit /run/palisade* 2>/dev/null
		grep -c -e fuse.lxcfs -e /var/lib/lxc /proc/1/mountinfo; true`), "\n")
}
