//go:build integration

package toolkit

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"palisade/internal/oci/wiring"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// finding is one of doctor's.
type finding struct {
	ID, Level, Subject, Problem, Remedy string
	Command                             bool
}

// patient is a host whose doctor's remedies are followed to the letter.
type patient struct {
	*host
	// bin has the programs by the names that remedies call them.
	bin string
}

// newPatient makes one, with an /etc, a /var/lib, a /var/log and a /usr/share of its own.
func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{host: newHost(t)}
	for _, directory := range []string{"/etc", "/var/log", "/usr/share"} {
		engine.OwnCopy(t, directory)
	}
	engine.OwnLib(t)
	p.bin = filepath.Join(p.dir, "bin")
	if err := os.Mkdir(p.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	p.install(t, shared.lxcfs, "lxcfs")
	p.install(t, shared.toolkit, "lxcfs-toolkit")
	p.install(t, shared.palisade, "palisade")
	p.wireLXC(t)
	t.Cleanup(func() {
		p.end(t, syscall.SIGTERM)
		unmount(t, filepath.Dir(p.mountpoint)) // prestart has made it a mount
	})
	return p
}

// Where LXC and the packages of LXC's distributors have what doctor looks at.
const (
	lxcConf   = "/usr/share/lxc/config/common.conf.d/00-lxcfs.conf"
	mountHook = "/usr/share/lxcfs/lxc.mount.hook"
	startHook = "/usr/share/palisade/hooks/lxc/start-host"
)

// wireLXC makes LXC start a hook that needs no lxcfs at a fixed place, whether the machine has LXC or not.
func (p *patient) wireLXC(t *testing.T) {
	t.Helper()
	for path, text := range map[string]string{lxcConf: "lxc.hook.start-host = " + startHook + "\n", startHook: "#!/bin/sh\n", "/etc/lxc/default.conf": ""} {
		writeProgram(t, path, text)
	}
}

// writeProgram writes an executable file, and creates its directory.
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o755)
	}
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// install copies a program over one that may be running.
func (p *patient) install(t *testing.T, program, name string) {
	t.Helper()
	text, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.bin, "new"), text, 0o755)
	}
	if err == nil {
		err = os.Rename(filepath.Join(p.bin, "new"), filepath.Join(p.bin, name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// server is lxcfs's process and its worker, 0 if there is none.
func (p *patient) server(t *testing.T) (pid, worker int) {
	t.Helper()
	var found struct{ Server struct{ PID, Worker int } }
	if err := json.Unmarshal([]byte(p.run(t, "", "check-lxcfs", "--json").Stdout), &found); err != nil {
		t.Fatal(err)
	}
	return found.Server.PID, found.Server.Worker
}

// end ends lxcfs by a signal.
func (p *patient) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	pid, worker := p.server(t)
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Error(err)
	}
	waitForEnd(t, pid)
	waitForEnd(t, worker)
}

// examine calls doctor, in bounded time, and returns its warnings and errors.
func (p *patient) examine(t *testing.T, args ...string) []finding {
	t.Helper()
	return slices.DeleteFunc(p.examineAll(t, args...), func(f finding) bool { return f.Level == "ok" || f.Level == "info" })
}

// examineAll is examine with all findings.
func (p *patient) examineAll(t *testing.T, args ...string) []finding {
	t.Helper()
	started := time.Now()
	r := engine.Run(t, "", filepath.Join(p.bin, "palisade"), p.args(append([]string{"doctor", "--json"}, args...)...)...)
	if took := time.Since(started); took > 15*time.Second {
		t.Errorf("doctor took %v", took)
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Stderr != "" {
		t.Fatalf("%v: %+v", err, r)
	}
	isSick := slices.ContainsFunc(report.Findings, func(f finding) bool { return f.Level == "error" || f.Level == "warning" })
	if (r.Code == 1) != isSick || r.Code > 1 {
		t.Errorf("the exit code is %d: %s", r.Code, r.Stdout)
	}
	return report.Findings
}

// wantIDs wants doctor to find this and nothing else, and returns it.
func (p *patient) wantIDs(t *testing.T, want ...string) []finding {
	t.Helper()
	found := p.examine(t)
	var ids []string
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	if !slices.Equal(ids, want) {
		t.Fatalf("doctor finds %+v, want %q", found, want)
	}
	return found
}

// wantStatus wants a line of the output of status, and an exit code.
func (p *patient) wantStatus(t *testing.T, line string, code int) {
	t.Helper()
	if r := p.palisade(t, "status"); r.Code != code || !strings.Contains(r.Stdout, line) || r.Stderr != "" {
		t.Errorf("status: %+v, want %q and the exit code %d", r, line, code)
	}
}

// mend wants doctor to find this, does what it prints for people, and wants it to be content then.
func (p *patient) mend(t *testing.T, want ...string) {
	t.Helper()
	found := p.wantIDs(t, want...)
	printed := p.palisade(t, "doctor").Stdout
	for _, f := range found {
		line := "      # " + f.Remedy + "\n"
		if !f.Command || !strings.Contains(printed, line) {
			t.Fatalf("%+v is not told as a command: %s", f, printed)
		}
		p.follow(t, f.Remedy)
	}
	p.wantIDs(t)
}

// wire has the engines that are there call the hook, as doctor says.
func (p *patient) wire(t *testing.T) {
	t.Helper()
	for _, f := range p.examine(t) {
		if f.ID == "hook-missing" {
			p.follow(t, f.Remedy)
		}
	}
}

// follow does what a remedy says, by the names of the programs.
func (p *patient) follow(t *testing.T, remedy string) {
	t.Helper()
	if r := engine.Run(t, "", "env", "PATH="+p.bin+":"+os.Getenv("PATH"), "sh", "-c", remedy); r.Code != 0 {
		t.Fatalf("%s: %+v", remedy, r)
	}
}

// TestDoctor breaks a host in one way after another. What doctor prints mends it.
func TestDoctor(t *testing.T) {
	p := newPatient(t)
	p.wire(t)
	p.wantStatus(t, "/lxcfs: not mounted: nothing is mounted there\n", 1)
	p.mend(t, "lxcfs-not-mounted")
	c := p.container(t, ctr.Options{Memory: 64 * mib})
	p.wantIDs(t)
	p.wantStatus(t, "containers  running: 1, with files of lxcfs: 1, without: 0, with dead files: 0\n", 0)

	t.Run("killed", func(t *testing.T) {
		p.end(t, syscall.SIGKILL)
		p.wantStatus(t, "with dead files: 1\n", 1)
		p.mend(t, "lxcfs-dead", "container-files-dead")
		checkVirtual(t, p.host, c, 64*mib)
	})
	t.Run("wedged", func(t *testing.T) {
		const control = "/sys/fs/fuse/connections"
		if !strings.Contains(hostMounts(t), " "+control+" ") {
			defer unmount(t, control) // the remedy mounts it
		}
		pid, worker := p.server(t)
		for _, process := range []int{pid, worker} {
			if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		p.mend(t, "lxcfs-wedged", "container-files-dead")
		checkVirtual(t, p.host, c, 64*mib)
	})
	t.Run("container without files", func(t *testing.T) {
		bare := p.container(t, ctr.Options{Memory: 32 * mib, Hooks: &specs.Hooks{}})
		if n := len(lxcfsMounts(t, strconv.Itoa(bare.PID))); n != 0 {
			t.Fatalf("it has %d", n)
		}
		p.mend(t, "container-files-missing")
		checkVirtual(t, p.host, bare, 32*mib)
	})
	t.Run("replaced program", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "lxcfs")
		build := exec.Command("go", "build", "-o", program, "-ldflags", "-X palisade/internal/cli/version.version=v9", "palisade/cmd/lxcfs")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		p.install(t, program, "lxcfs")
		p.mend(t, "lxcfs-outdated")
		checkVirtual(t, p.host, c, 64*mib)
	})
	t.Run("engine that hangs", func(t *testing.T) {
		socket, err := net.Listen("unix", "/run/docker.sock")
		if err != nil {
			t.Fatal(err)
		}
		p.wantIDs(t, "engine-silent")
		socket.Close()
		p.wantIDs(t)
	})
	t.Run("old kernel", func(t *testing.T) {
		line := onOldKernel(t, []int{unix.SYS_OPEN_TREE, unix.SYS_PIDFD_OPEN, unix.SYS_OPENAT2, unix.SYS_MOUNT_SETATTR}, shared.palisade,
			p.args("doctor")...)
		r := engine.Run(t, "", line[0], line[1:]...)
		for _, want := range []string{"[kernel-open-tree]", "[kernel-pidfd]", "[kernel-openat2]", "[kernel-idmapped-mounts]"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("%s is not told of: %+v", want, r)
			}
		}
	})
}

// TestDoctorEngines has the engines of this machine, whose configuration is missing, in the wrong place, and broken.
func TestDoctorEngines(t *testing.T) {
	engine.Need(t, "podman", "dockerd", "containerd")
	p := newPatient(t)
	p.mend(t, "lxcfs-not-mounted", "hook-missing", "hook-missing")
	const daemonJSON = "/etc/docker/daemon.json"
	if text, err := os.ReadFile(daemonJSON); err != nil || !strings.Contains(string(text), p.mountpoint) {
		t.Errorf("%s is %s, %v", daemonJSON, text, err)
	}
	const wrong = "/etc/containers/oci/hooks.d"
	if err := os.MkdirAll(wrong, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := engine.Run(t, "", "mv", filepath.Join(wiring.DefaultHooksDir, "lxcfs.json"), wrong); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	p.mend(t, "hook-wrong-folder")

	good, err := os.ReadFile(daemonJSON)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(daemonJSON, good[:len(good)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	if f := p.wantIDs(t, "config-broken"); f[0].Subject != daemonJSON || f[0].Command || !strings.Contains(f[0].Problem, "line ") {
		t.Errorf("got %+v", f)
	}
	if r := engine.Run(t, "", "dockerd", "--validate", "--config-file", daemonJSON); r.Code == 0 {
		t.Errorf("dockerd takes what doctor finds broken: %+v", r)
	}
	if err := os.WriteFile(daemonJSON, good, 0o644); err != nil {
		t.Fatal(err)
	}
	p.wantIDs(t)
	if found := p.examine(t, "--engine", "isulad"); len(found) != 1 || found[0].ID != "engine-absent" {
		t.Errorf("isulad: %+v", found)
	}
}

// TestDoctorBeside has Debian's lxcfs on the host, alone and beside ours, alive and dead: no advice
// ends one that serves containers.
func TestDoctorBeside(t *testing.T) {
	engine.Need(t, "/usr/bin/lxcfs")
	p := newPatient(t)
	p.wire(t)
	start := p.wantIDs(t, "lxcfs-not-mounted")[0].Remedy
	dir := t.TempDir()
	rival, err := ctr.StartRival(t.Context(), "/usr/bin/lxcfs", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rival.Unmount(); err != nil { // it ends, if it has not been killed
			t.Error(err)
		}
	})
	if f := p.wantIDs(t, "lxcfs-elsewhere"); f[0].Subject != rival.Mountpoint || f[0].Command {
		t.Errorf("Debian's lxcfs alone: %+v", f)
	}

	p.follow(t, start)
	c := p.container(t, ctr.Options{Memory: 64 * mib, Hooks: &specs.Hooks{}})
	args := []string{"--mountpoint", rival.Mountpoint, "--runtime-dir", filepath.Join(p.dir, "rival-run"), "remount", "--container-id", c.ID}
	if r := engine.Run(t, "", shared.toolkit, args...); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	ids := func() (ids []string) {
		for _, f := range p.examineAll(t) {
			if strings.HasPrefix(f.ID, "lxcfs-") || strings.HasPrefix(f.ID, "container-") || strings.HasPrefix(f.ID, "lxc-") {
				ids = append(ids, f.ID)
			}
		}
		return ids
	}
	if got, want := ids(), []string{"lxcfs-ok", "lxcfs-beside", "container-ok"}; !slices.Equal(got, want) {
		t.Errorf("beside Debian's: %q, want %q", got, want)
	}

	// The hook takes the files from /var/lib/lxcfs then.
	writeProgram(t, mountHook, "#!/bin/sh\nmount --bind /var/lib/lxcfs/proc/stat x\n")
	writeProgram(t, lxcConf, "lxc.hook.mount = "+mountHook+"\n")
	if f := p.wantIDs(t, "lxc-not-served"); !f[0].Command || !strings.HasSuffix(f[0].Remedy, " bind /var/lib/lxcfs") {
		t.Errorf("got %+v", f)
	}
	if err := os.Mkdir("/var/lib/lxcfs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(p.mountpoint, "/var/lib/lxcfs", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	p.wantIDs(t) // the bind mount is no lxcfs beside ours
	unmount(t, "/var/lib/lxcfs")
	if err := os.Remove(lxcConf); err != nil {
		t.Fatal(err)
	}
	p.wantIDs(t, "hook-missing")
	p.wireLXC(t)

	if err := rival.Crash(); err != nil {
		t.Fatal(err)
	}
	f := p.wantIDs(t, "lxcfs-beside-fails", "container-files-dead")
	if want := " bind " + rival.Mountpoint + " && "; !f[0].Command || !strings.Contains(f[0].Remedy, want) {
		t.Errorf("got %+v, want the remedy %s", f[0], want)
	}
}

// TestDoctorSwitchedOff forgets a SIGUSR2.
func TestDoctorSwitchedOff(t *testing.T) {
	p := newPatient(t)
	p.wire(t)
	p.mend(t, "lxcfs-not-mounted")
	pid, _ := p.server(t)
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.run(t, "", "check-lxcfs").Stdout, "SIGUSR2 has switched it off"); {
		if time.Now().After(deadline) {
			t.Fatal("check-lxcfs does not show it")
		}
	}
	p.mend(t, "lxcfs-switched-off")
}
