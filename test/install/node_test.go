//go:build integration

package install

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
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
	// agents and pods are the numbers of pods that were started.
	agents, pods int
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
		"--unit="+unit, "--unit=lxcfs")
	agents, _ := n.Exec("sh", "-c", "tail --lines=50 /home/agent-*.log")
	n.t.Log(log, agents)
}

// startPod starts containerd with one pod.
func (n *node) startPod() {
	n.t.Helper()
	n.session("with_kubernetes_node")
	for _, image := range []string{first, later, broken} {
		n.must("/usr/local/bin/ctr", "--namespace", "k8s.io", "images", "import", "/"+image+".tar")
	}
	n.pid = n.runPod()
	n.host = n.memTotal()
}

// runPod starts a pod, and returns its process.
func (n *node) runPod() (pid string) {
	n.t.Helper()
	n.pods++
	name := fmt.Sprintf("pod-%d", n.pods)
	n.must("sh", "-c", `jq --arg name "$1" '.metadata |= (.name = $name | .uid = $name)' \
		/home/pod.json >"/home/$1.json"`, "sh", name)
	n.crictl("run", "--no-pull", "/home/container.json", "/home/"+name+".json")
	out := n.crictl("inspect", n.crictl("ps", "--quiet", "--latest"))
	var inspected struct{ Info struct{ PID int } }
	if err := json.Unmarshal([]byte(out), &inspected); err != nil {
		n.t.Fatalf("crictl inspect: %v: %s", err, out)
	}
	return strconv.Itoa(inspected.Info.PID)
}

// session runs a script with the functions of the documents' tests. Its processes end with it.
func (n *node) session(script string) {
	n.t.Helper()
	n.must("systemd-run", "--scope", "--quiet", "--property=Delegate=yes",
		"--property=TimeoutStopSec=1", "sh", "-c",
		`printf '%s\n' 'trap - EXIT' "$1" | bash /session.sh`, "sh", script)
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
func (n *node) memTotal() string { return n.memTotalOf(n.pid) }

// memTotalOf returns that of the pod with a process.
func (n *node) memTotalOf(pid string) string {
	n.t.Helper()
	out, _ := n.Exec("nsenter", "--target", pid, "--mount", "--pid", "--root", "head", "-n", "1",
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

// crictl runs crictl in the machine, and returns its output.
func (n *node) crictl(args ...string) string {
	n.t.Helper()
	cmd := n.Command(n.t.Context(), append([]string{"/usr/local/bin/crictl"}, args...)...)
	var stderr strings.Builder // has warnings, too
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("crictl %q: %v: %s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// startAgent starts the agent of an image in a pod as that of the chart, and returns the pod.
func (n *node) startAgent(image string) (sandbox string) {
	n.t.Helper()
	return n.startAgentPod(image, []string{"--metrics"}, "--metrics-socket="+metrics)
}

// startAgentPod starts a pod as that of the chart, with other options (engine.AgentPod).
func (n *node) startAgentPod(image string, replaced []string, args ...string) (sandbox string) {
	n.t.Helper()
	n.agents++
	pod, container := engine.AgentPod(n.t, repository+"/deploy/kubernetes/palisade.yaml",
		imageName(image), false, replaced, args...)
	pod["log_directory"] = "/home"
	container["log_path"] = n.agentLog()
	podFile, containerFile := "/home/agent-pod.json", "/home/agent.json"
	for file, request := range map[string]any{podFile: pod, containerFile: container} {
		text, err := json.Marshal(request)
		if err == nil {
			err = n.WriteFile(file, string(text))
		}
		if err != nil {
			n.t.Fatal(err)
		}
	}
	sandbox = n.crictl("runp", podFile)
	n.crictl("start", n.crictl("create", sandbox, containerFile, podFile))
	return sandbox
}

// agentLog returns the name of the log of the last agent.
func (n *node) agentLog() string { return fmt.Sprintf("agent-%d.log", n.agents) }

// endAgent ends an agent, as the kubelet does or by SIGKILL, and removes its pod.
func (n *node) endAgent(sandbox, signal string) {
	n.t.Helper()
	if signal == "TERM" {
		n.crictl("stop", "--timeout", "30", n.crictl("ps", "--quiet", "--pod", sandbox))
	}
	n.crictl("rmp", "--force", sandbox)
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
