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

// finding is a finding of palisade doctor.
type finding struct {
	ID, Level, Subject, Problem, Remedy string
	Command                             bool
}

// doctorHost is a host on which the remedies that doctor prints are executed.
type doctorHost struct {
	*host
	// bin holds the programs by the names in remedies.
	bin string
}

// newDoctorHost returns a doctorHost with its own /etc, /var/lib, /var/log and /usr/share.
func newDoctorHost(t *testing.T) *doctorHost {
	t.Helper()
	p := &doctorHost{host: newHost(t)}
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
		unmount(t, filepath.Dir(p.mountpoint)) // mounted by prestart
	})
	return p
}

// Paths of LXC and of distributions' packages that doctor checks.
const (
	lxcConf   = "/usr/share/lxc/config/common.conf.d/00-lxcfs.conf"
	mountHook = "/usr/share/lxcfs/lxc.mount.hook"
	startHook = "/usr/share/palisade/hooks/lxc/start-host"
)

// wireLXC configures a hook of LXC that needs no lxcfs at a fixed path, also if LXC is not
// installed.
func (p *doctorHost) wireLXC(t *testing.T) {
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

// install replaces a program that may be running.
func (p *doctorHost) install(t *testing.T, program, name string) {
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

// server returns the pids of lxcfs and its worker, or 0.
func (p *doctorHost) server(t *testing.T) (pid, worker int) {
	t.Helper()
	var found struct{ Server struct{ PID, Worker int } }
	if err := json.Unmarshal([]byte(p.run(t, "", "check-lxcfs", "--json").Stdout), &found); err != nil {
		t.Fatal(err)
	}
	return found.Server.PID, found.Server.Worker
}

// end sends a signal to lxcfs, and waits until it has exited.
func (p *doctorHost) end(t *testing.T, s syscall.Signal) {
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

// problems runs doctor, in bounded time, and returns its warnings and errors.
func (p *doctorHost) problems(t *testing.T, args ...string) []finding {
	t.Helper()
	return slices.DeleteFunc(p.findings(t, args...), func(f finding) bool { return f.Level == "ok" || f.Level == "info" })
}

// findings runs doctor, in bounded time, and returns all of its findings.
func (p *doctorHost) findings(t *testing.T, args ...string) []finding {
	t.Helper()
	started := time.Now()
	r := engine.Run(t, "", filepath.Join(p.bin, "palisade"), p.args(append([]string{"doctor", "--json"}, args...)...)...)
	if took := time.Since(started); took > 15*time.Second {
		t.Errorf("doctor took %v, want at most 15s", took)
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Stderr != "" {
		t.Fatalf("%v: %+v", err, r)
	}
	hasProblems := slices.ContainsFunc(report.Findings, func(f finding) bool { return f.Level == "error" || f.Level == "warning" })
	if (r.Code == 1) != hasProblems || r.Code > 1 {
		t.Errorf("exit code %d, problems %v: %s", r.Code, hasProblems, r.Stdout)
	}
	return report.Findings
}

// wantIDs checks that doctor finds exactly the problems with these ids, and returns them.
func (p *doctorHost) wantIDs(t *testing.T, want ...string) []finding {
	t.Helper()
	found := p.problems(t)
	var ids []string
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	if !slices.Equal(ids, want) {
		t.Fatalf("got problems %+v, want %q", found, want)
	}
	return found
}

// wantStatus checks a line in the output of status, and its exit code.
func (p *doctorHost) wantStatus(t *testing.T, line string, code int) {
	t.Helper()
	if r := p.palisade(t, "status"); r.Code != code || !strings.Contains(r.Stdout, line) || r.Stderr != "" {
		t.Errorf("status: %+v, want %q and exit code %d", r, line, code)
	}
}

// repair checks that doctor finds exactly the problems with these ids, executes the commands that
// it prints, and checks that no problem remains.
func (p *doctorHost) repair(t *testing.T, want ...string) {
	t.Helper()
	found := p.wantIDs(t, want...)
	printed := p.palisade(t, "doctor").Stdout
	for _, f := range found {
		line := "      # " + f.Remedy + "\n"
		if !f.Command || !strings.Contains(printed, line) {
			t.Fatalf("the remedy of %+v is not printed as a command: %s", f, printed)
		}
		p.execute(t, f.Remedy)
	}
	p.wantIDs(t)
}

// wire configures the hook of the installed engines, with doctor's remedies.
func (p *doctorHost) wire(t *testing.T) {
	t.Helper()
	for _, f := range p.problems(t) {
		if f.ID == "hook-missing" {
			p.execute(t, f.Remedy)
		}
	}
}

// execute executes a remedy.
func (p *doctorHost) execute(t *testing.T, remedy string) {
	t.Helper()
	if r := engine.Run(t, "", "env", "PATH="+p.bin+":"+os.Getenv("PATH"), "sh", "-c", remedy); r.Code != 0 {
		t.Fatalf("%s: %+v", remedy, r)
	}
}

// TestDoctor breaks a host in several ways, and checks that the remedies that doctor prints repair
// it.
func TestDoctor(t *testing.T) {
	p := newDoctorHost(t)
	p.wire(t)
	p.wantStatus(t, "/lxcfs: not mounted: nothing is mounted there\n", 1)
	p.repair(t, "lxcfs-not-mounted")
	c := p.container(t, ctr.Options{Memory: 64 * mib})
	p.wantIDs(t)
	p.wantStatus(t, "containers  running: 1, with files of lxcfs: 1, without: 0, with dead files: 0\n", 0)

	t.Run("killed", func(t *testing.T) {
		p.end(t, syscall.SIGKILL)
		p.wantStatus(t, "with dead files: 1\n", 1)
		p.repair(t, "lxcfs-dead", "container-files-dead")
		checkVirtual(t, p.host, c, 64*mib)
	})
	t.Run("wedged", func(t *testing.T) {
		const control = "/sys/fs/fuse/connections"
		if !strings.Contains(hostMounts(t), " "+control+" ") {
			defer unmount(t, control) // mounted by the remedy
		}
		pid, worker := p.server(t)
		for _, process := range []int{pid, worker} {
			if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		p.repair(t, "lxcfs-wedged", "container-files-dead")
		checkVirtual(t, p.host, c, 64*mib)
	})
	t.Run("container without files", func(t *testing.T) {
		bare := p.container(t, ctr.Options{Memory: 32 * mib, Hooks: &specs.Hooks{}})
		if n := len(lxcfsMounts(t, strconv.Itoa(bare.PID))); n != 0 {
			t.Fatalf("got %d mounts of lxcfs, want none", n)
		}
		p.repair(t, "container-files-missing")
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
		p.repair(t, "lxcfs-outdated")
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
				t.Errorf("%s is not found: %+v", want, r)
			}
		}
	})
}

// TestDoctorEngines checks the findings on engines whose configuration is missing, misplaced or
// invalid.
func TestDoctorEngines(t *testing.T) {
	engine.Need(t, "podman", "dockerd", "containerd")
	p := newDoctorHost(t)
	p.repair(t, "lxcfs-not-mounted", "hook-missing", "hook-missing")
	const daemonJSON = "/etc/docker/daemon.json"
	if text, err := os.ReadFile(daemonJSON); err != nil || !strings.Contains(string(text), p.mountpoint) {
		t.Errorf("got %s %s, %v, want the hook", daemonJSON, text, err)
	}
	const wrong = "/etc/containers/oci/hooks.d"
	if err := os.MkdirAll(wrong, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := engine.Run(t, "", "mv", filepath.Join(wiring.DefaultHooksDir, "lxcfs.json"), wrong); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	p.repair(t, "hook-wrong-folder")

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
		t.Errorf("dockerd accepts what doctor finds broken: %+v", r)
	}
	if err := os.WriteFile(daemonJSON, good, 0o644); err != nil {
		t.Fatal(err)
	}
	p.wantIDs(t)
	if found := p.problems(t, "--engine", "isulad"); len(found) != 1 || found[0].ID != "engine-absent" {
		t.Errorf("isulad: %+v", found)
	}
}

// TestDoctorBeside checks the findings with Debian's lxcfs on the host, alone and beside ours,
// alive and dead: no remedy stops one that serves containers.
func TestDoctorBeside(t *testing.T) {
	engine.Need(t, "/usr/bin/lxcfs")
	p := newDoctorHost(t)
	p.wire(t)
	start := p.wantIDs(t, "lxcfs-not-mounted")[0].Remedy
	dir := t.TempDir()
	rival, err := ctr.StartRival(t.Context(), "/usr/bin/lxcfs", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rival.Unmount(); err != nil { // stops it, unless it was killed
			t.Error(err)
		}
	})
	if f := p.wantIDs(t, "lxcfs-elsewhere"); f[0].Subject != rival.Mountpoint || f[0].Command {
		t.Errorf("Debian's lxcfs alone: %+v", f)
	}

	p.execute(t, start)
	c := p.container(t, ctr.Options{Memory: 64 * mib, Hooks: &specs.Hooks{}})
	args := []string{"--mountpoint", rival.Mountpoint, "--runtime-dir", filepath.Join(p.dir, "rival-run"), "remount", "--container-id", c.ID}
	if r := engine.Run(t, "", shared.toolkit, args...); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	ids := func() (ids []string) {
		for _, f := range p.findings(t) {
			if strings.HasPrefix(f.ID, "lxcfs-") || strings.HasPrefix(f.ID, "container-") || strings.HasPrefix(f.ID, "lxc-") {
				ids = append(ids, f.ID)
			}
		}
		return ids
	}
	if got, want := ids(), []string{"lxcfs-ok", "lxcfs-beside", "container-ok"}; !slices.Equal(got, want) {
		t.Errorf("beside Debian's: %q, want %q", got, want)
	}

	// This hook needs an lxcfs on /var/lib/lxcfs.
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
	p.wantIDs(t) // the bind mount is not another lxcfs
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

// TestDoctorSwitchedOff checks that doctor finds an lxcfs that SIGUSR2 has switched off.
func TestDoctorSwitchedOff(t *testing.T) {
	p := newDoctorHost(t)
	p.wire(t)
	p.repair(t, "lxcfs-not-mounted")
	pid, _ := p.server(t)
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.run(t, "", "check-lxcfs").Stdout, "SIGUSR2 has switched it off"); {
		if time.Now().After(deadline) {
			t.Fatal("check-lxcfs does not show it")
		}
	}
	p.repair(t, "lxcfs-switched-off")
}
