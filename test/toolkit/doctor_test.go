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

	"palisade/internal/wiring"
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
	for _, folder := range []string{"/etc", "/var/log", "/usr/share"} {
		engine.OwnCopy(t, folder)
	}
	engine.OwnLib(t)
	p.bin = filepath.Join(p.dir, "bin")
	if err := os.Mkdir(p.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	p.install(t, shared.lxcfs, "lxcfs")
	p.install(t, shared.toolkit, "lxcfs-toolkit")
	t.Cleanup(func() {
		p.end(t, syscall.SIGTERM)
		unmount(t, filepath.Dir(p.mountpoint)) // prestart has made it a mount
	})
	return p
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
	started := time.Now()
	r := engine.Run(t, "", filepath.Join(p.bin, "lxcfs-toolkit"), p.args(append([]string{"doctor", "--json"}, args...)...)...)
	if took := time.Since(started); took > 15*time.Second {
		t.Errorf("doctor took %v", took)
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Stderr != "" {
		t.Fatalf("%v: %+v", err, r)
	}
	report.Findings = slices.DeleteFunc(report.Findings, func(f finding) bool { return f.Level == "ok" || f.Level == "info" })
	if want := min(len(report.Findings), 1); r.Code != want {
		t.Errorf("the exit code is %d, want %d: %s", r.Code, want, r.Stdout)
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

// mend wants doctor to find this, does what it prints for people, and wants it to be content then.
func (p *patient) mend(t *testing.T, want ...string) {
	t.Helper()
	found := p.wantIDs(t, want...)
	printed := p.run(t, "", "doctor").Stdout
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
	p.mend(t, "lxcfs-not-mounted")
	c := p.container(t, ctr.Options{Memory: 64 * mib})
	p.wantIDs(t)

	t.Run("killed", func(t *testing.T) {
		p.end(t, syscall.SIGKILL)
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
		build := exec.Command("go", "build", "-o", program, "-ldflags", "-X palisade/internal/version.version=v9", "palisade/cmd/lxcfs")
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
		line := onOldKernel(t, []int{unix.SYS_OPEN_TREE, unix.SYS_PIDFD_OPEN, unix.SYS_OPENAT2, unix.SYS_MOUNT_SETATTR}, shared.toolkit,
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
