//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// guest is a system container, whose init keeps a program running that reads all files.
type guest struct {
	name string
	// pid is its init, as the machine sees it.
	pid string
	// exec is how a program is run inside.
	exec    []string
	started time.Time
}

const (
	memoryLimit = 64 << 20
	// notes is where the reader writes how it goes.
	notes = "/tmp/reads"
	// firstID is the host's id of the containers' root.
	firstID = "100000"
)

// inittab has the init of busybox start the reader, again where it ends in error.
const inittab = `::sysinit:/bin/mkdir -p /tmp
::once:/bin/load watch ` + notes + ` 2 PAUSE /proc/cpuinfo /proc/meminfo /proc/stat /proc/uptime /proc/swaps /proc/loadavg /proc/partitions
::respawn:/bin/sleep 100000
`

// makeRootfs makes the root file system of both containers.
func makeRootfs(dir string) error {
	if err := ctr.NewRootfs(context.Background(), dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "sbin"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("/bin/busybox", filepath.Join(dir, "sbin/init")); err != nil {
		return err
	}
	pause := "1ms"
	if os.Getenv("PALISADE_VM") != "" { // its CPU is emulated, and has other things to do
		pause = "50ms"
	}
	return os.WriteFile(filepath.Join(dir, "etc/inittab"), []byte(strings.Replace(inittab, "PAUSE", pause, 1)), 0o644)
}

// bundle is that of runc's container.
const bundle = "/srv/system"

// runRunc makes a bundle with the hooks of hookspec.json in its configuration, and starts it.
func (s *story) runRunc() {
	if err := os.MkdirAll(s.path(bundle), 0o755); err != nil {
		s.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", shared.rootfs, s.path(bundle)+"/rootfs").CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.do("runc", "spec", "--bundle", bundle)
	var spec specs.Spec
	var hooks specs.Hooks
	for name, into := range map[string]any{bundle + "/config.json": &spec, hookspec: &hooks} {
		if err := json.Unmarshal([]byte(s.read(name)), into); err != nil {
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
		err = s.write(bundle+"/config.json", string(text))
	}
	if err != nil {
		s.Fatal(err)
	}
	fmt.Fprintf(&s.now.text, "`%s/config.json` gets the hooks of `%s`, the annotation `palisade.user-remap` with %s, one CPU, and 64 MiB.\n\n", bundle, hookspec, userRemap)
	s.startRunc()
}

// startRunc starts a container by userns-shift's wrapper of runc.
func (s *story) startRunc() {
	s.system = &guest{name: "runc's container", exec: []string{"runc", "exec", "system"}, started: time.Now()}
	// The shell leaves the container no pipe of ours.
	s.do("sh", "-c", "userns-shift-runc run --detach --bundle "+bundle+" system </dev/null >/srv/log 2>&1 || { cat /srv/log; exit 1; }")
	var state specs.State
	if err := json.Unmarshal([]byte(s.do("runc", "state", "system")), &state); err != nil {
		s.Fatal(err)
	}
	s.system.pid = fmt.Sprint(state.Pid)
	s.readsGoOn()
}

// runDocker starts one as alice, with the runtime that daemon.json names.
func (s *story) runDocker() {
	image := s.path("/srv/box.tar")
	if out, err := exec.Command("tar", "-C", shared.rootfs, "-cf", image, ".").CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.docker("alice", "import", "/srv/box.tar", "box")
	s.web = &guest{name: "Docker's container", exec: append(dockerAs("alice"), "exec", "web"), started: time.Now()}
	s.docker("alice", "run", "--detach", "--name", "web", "--runtime", "palisade", "--restart", "always", "--network", "none",
		"--memory", "64m", "--cpus", "1", "--cpuset-cpus", "0", "box", "/sbin/init")
	s.web.pid = strings.TrimSpace(s.docker("alice", "inspect", "--format", "{{.State.Pid}}", "web"))
	s.readsGoOn()
}

// guests are those that run.
func (s *story) guests() (all []*guest) {
	for _, g := range []*guest{s.system, s.web} {
		if g != nil && g.pid != "" {
			all = append(all, g)
		}
	}
	return all
}

// inside is a path in the container, as the machine sees it.
func (g *guest) inside(name string) string { return "/proc/" + g.pid + "/root" + name }

// progress is what a reader has noted.
type progress struct {
	state        string
	began        int64
	reads, wrong int
	text         string
}

// reads is how the reader goes.
func (s *story) reads(g *guest) (p progress) {
	p.text = s.read(g.inside(notes))
	fmt.Sscan(p.text, &p.state, &p.began, &p.reads, &p.wrong) // there may be nothing yet
	return p
}

// readsGoOn waits until all readers have read more, and makes sure that nothing that they have read was wrong.
func (s *story) readsGoOn() {
	s.Helper()
	for _, g := range s.guests() {
		before := s.reads(g)
		var now progress
		s.waitFor(g.name+" reads on", func() bool {
			now = s.reads(g)
			// One that was left by an earlier container does not count.
			return now.began == before.began && now.reads > before.reads+5 || now.began > before.began && now.reads > 5
		})
		if now.wrong > 0 {
			s.see(false, "of %d reads in %s %d were wrong: %s", now.reads, g.name, now.wrong, now.text)
			s.FailNow()
		}
	}
}

// endReads ends all readers.
func (s *story) endReads() {
	for _, g := range s.guests() {
		s.do(append(append([]string{}, g.exec...), "touch", notes+".stop")...)
		s.waitFor("the reader in "+g.name+" has ended", func() bool { return s.reads(g).state == "ended" })
		now := s.reads(g)
		s.see(now.wrong == 0, "none of its %d reads was wrong", now.reads)
	}
}
