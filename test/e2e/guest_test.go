//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// guest is a system container whose init runs a reader of the files of lxcfs.
type guest struct {
	name string
	// pid is its init in the machine's pid namespace.
	pid string
	// exec is the command line prefix that runs a program inside.
	exec    []string
	started time.Time
}

const (
	memoryLimit = 64 << 20
	// notes is the file in which the reader counts reads.
	notes = "/tmp/reads"
	// firstID is the host's id of root in the containers.
	firstID = "100000"
)

// inittab makes busybox's init start the reader.
const inittab = `::sysinit:/bin/mkdir -p /tmp
::once:/bin/load watch ` + notes + ` 2 PAUSE /proc/cpuinfo /proc/meminfo /proc/stat /proc/uptime /proc/swaps /proc/loadavg /proc/partitions
::respawn:/bin/sleep 100000
`

// newRootfs creates the root file system of the containers.
func newRootfs(ctx context.Context, dir string) error {
	return ctr.NewInitRootfs(ctx, dir, strings.Replace(inittab, "PAUSE", pause(), 1))
}

// pause returns the pause of programs between reads or calls.
func pause() string {
	if os.Getenv("PALISADE_VM") != "" { // the emulated CPU is slow
		return "50ms"
	}
	return "1ms"
}

// bundle is the bundle of runc's container.
const bundle = "/srv/system"

// addRootfs copies the root file system of the containers to the directory rootfs of the bundle.
func (s *story) addRootfs(bundle string) {
	s.Helper()
	if err := os.MkdirAll(s.Path(bundle), 0o755); err != nil {
		s.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", shared.rootfs, s.Path(bundle)+"/rootfs").CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// runDetached runs a command that starts a container and leaves it running. The container must not
// inherit our pipe: the file log has its output.
func (s *story) runDetached(command, log string) {
	s.Helper()
	s.do("sh", "-c", command+" </dev/null >"+log+" 2>&1 || { cat "+log+"; exit 1; }")
}

// runRunc creates a bundle whose configuration has the hooks of hookspec.json, and starts it.
func (s *story) runRunc() {
	s.addRootfs(bundle)
	s.do("runc", "spec", "--bundle", bundle)
	var spec specs.Spec
	var hooks specs.Hooks
	for name, into := range map[string]any{bundle + "/config.json": &spec, hookspec: &hooks} {
		if err := json.Unmarshal([]byte(s.ReadFile(name)), into); err != nil {
			s.Fatalf("%s: %v", name, err)
		}
	}
	memory, quota, period := int64(memoryLimit), int64(100000), uint64(100000)
	spec.Process.Terminal, spec.Process.Args, spec.Root.Readonly = false, []string{"/sbin/init"}, false
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period, Cpus: "0"}
	spec.Hooks = &hooks
	spec.Annotations = map[string]string{"palisade.user-remap": userRemap}
	text, err := json.Marshal(spec)
	if err == nil {
		err = s.WriteFile(bundle+"/config.json", string(text))
	}
	if err != nil {
		s.Fatal(err)
	}
	fmt.Fprintf(&s.now.text, "`%s/config.json` gets the hooks of `%s`, the annotation `palisade.user-remap` with %s, one CPU, and 64 MiB.\n\n", bundle, hookspec, userRemap)
	s.startRunc()
}

// startRunc starts a container with userns-shift's wrapper of runc.
func (s *story) startRunc() {
	s.system = &guest{name: "runc's container", exec: []string{"runc", "exec", "system"}, started: time.Now()}
	s.runDetached("userns-shift-runc run --detach --bundle "+bundle+" system", "/srv/log")
	var state specs.State
	if err := json.Unmarshal([]byte(s.do("runc", "state", "system")), &state); err != nil {
		s.Fatal(err)
	}
	s.system.pid = fmt.Sprint(state.Pid)
	s.readsContinue()
}

// runDocker starts a container as alice, with the runtime in daemon.json.
func (s *story) runDocker() {
	image := s.Path("/srv/box.tar")
	if out, err := exec.Command("tar", "-C", shared.rootfs, "-cf", image, ".").CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.docker("alice", "import", "/srv/box.tar", "box")
	s.web = &guest{name: "Docker's container", exec: append(dockerAs("alice"), "exec", "web"), started: time.Now()}
	s.docker("alice", "run", "--detach", "--name", "web", "--runtime", "palisade", "--restart", "always", "--network", "none",
		"--memory", "64m", "--cpus", "1", "--cpuset-cpus", "0", "box", "/sbin/init")
	s.web.pid = strings.TrimSpace(s.docker("alice", "inspect", "--format", "{{.State.Pid}}", "web"))
	s.readsContinue()
}

// guests returns the running containers.
func (s *story) guests() (all []*guest) {
	for _, g := range []*guest{s.system, s.web} {
		if g != nil && g.pid != "" {
			all = append(all, g)
		}
	}
	return all
}

// inside returns the machine's path of a file in the container.
func (g *guest) inside(name string) string { return "/proc/" + g.pid + "/root" + name }

// progress is the content of a reader's notes.
type progress struct {
	state        string
	began        int64
	reads, wrong int
	text         string
}

// reads returns the progress of the reader.
func (s *story) reads(g *guest) (p progress) {
	p.text = s.ReadFile(g.inside(notes))
	fmt.Sscan(p.text, &p.state, &p.began, &p.reads, &p.wrong) // may be empty yet
	return p
}

// readsContinue waits until all readers have made progress, and checks that no read was wrong.
func (s *story) readsContinue() {
	s.Helper()
	for _, g := range s.guests() {
		before := s.reads(g)
		var now progress
		s.waitFor(g.name+" continues to read", func() bool {
			now = s.reads(g)
			// The notes may be an earlier container's.
			return now.began == before.began && now.reads > before.reads+5 || now.began > before.began && now.reads > 5
		})
		if now.wrong > 0 {
			s.check(false, "%d of %d reads in %s were wrong: %s", now.wrong, now.reads, g.name, now.text)
			s.FailNow()
		}
	}
	s.callsContinue()
}

// endReads stops all readers.
func (s *story) endReads() {
	for _, g := range s.guests() {
		s.do(append(append([]string{}, g.exec...), "touch", notes+".stop")...)
		s.waitFor("the reader in "+g.name+" has ended", func() bool { return s.reads(g).state == "ended" })
		now := s.reads(g)
		s.check(now.wrong == 0, "all of its %d reads were right", now.reads)
	}
}
