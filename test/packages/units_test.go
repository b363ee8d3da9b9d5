//go:build integration

package packages

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// ownNamespace matches settings with which systemd may give a service its own mount namespace, in
// which the mounts of lxcfs would be hidden from the host.
var ownNamespace = regexp.MustCompile(`(?m)^(Private\w+|ProtectSystem|ProtectHome|ProtectProc|ProcSubset|ProtectHostname|ProtectControlGroups|ProtectKernel\w+` +
	`|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|ExecPaths|NoExecPaths|BindPaths|BindReadOnlyPaths|TemporaryFileSystem|RootDirectory|RootImage|MountAPIVFS` +
	`|MountFlags|DynamicUser|StateDirectory|CacheDirectory|LogsDirectory|RestrictSUIDSGID)=`)

// TestUnits checks the installed units with systemd-analyze, for mistakes and for exposure.
func TestUnits(t *testing.T) {
	r := newRPMRoot(t)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"lxcfs.service", "authz-broker.service", "palisade-nri.service", "authz-broker.socket", "authz-front@.service", "authz-front@.socket"} {
		text := read(t, filepath.Join(r.root, "usr/lib/systemd/system", name))
		if strings.Contains(text, "file:/usr/") {
			for _, page := range regexp.MustCompile(`file:(/\S+)`).FindAllStringSubmatch(text, -1) {
				read(t, filepath.Join(r.root, page[1]))
			}
		}
		if found := ownNamespace.FindString(text); name != "authz-broker.service" && !strings.HasPrefix(name, "authz-front") && found != "" {
			t.Errorf("%s has %s", name, found)
		}
		unit := filepath.Join(dir, name)
		write(t, unit, strings.ReplaceAll(text, "/usr/bin/", r.root+"/usr/bin/"), 0o644)
		units = append(units, strings.Replace(unit, "@", "@docker", 1))
	}
	verify := func(units ...string) {
		t.Helper()
		if out, err := exec.Command("systemd-analyze", append([]string{"verify"}, units...)...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: %s", err, out)
		}
	}
	verify(units...)
	// 100 is the most exposed. The drop-in for metrics on a TCP address adds a little.
	checkExposure := func(unit string, most int) {
		t.Helper()
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+strconv.Itoa(most), unit).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	for _, unit := range units[:3] {
		checkExposure(unit, 49)
	}
	for _, unit := range withMetrics(t, units[:2]) {
		verify(unit)
		checkExposure(unit, 55)
	}
}

// TestLxcfsCondition checks that systemd starts lxcfs in a container only with /dev/fuse.
func TestLxcfsCondition(t *testing.T) {
	unit := read(t, repository+"/rpm/lxcfs.service")
	args := []string{"--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && mkdir /run/systemd
echo lxc >/run/systemd/container
if [ "$1" = without ]; then mount -t tmpfs tmpfs /dev; fi
shift; exec systemd-analyze condition "$@"`, "sh", ""}
	args = append(args, regexp.MustCompile(`(?m)^Condition.*$`).FindAllString(unit, -1)...)
	for fuse, want := range map[string]string{"with": "Conditions succeeded", "without": "Conditions failed"} {
		args[5] = fuse
		out, _ := exec.Command("unshare", args...).CombinedOutput() // fails if a condition does
		if !strings.Contains(string(out), want) {
			t.Errorf("in a container %s /dev/fuse: %s", fuse, out)
		}
	}
}

// TestLxcfsCalls checks that the unit of lxcfs allows the system calls and namespaces that its
// commands use.
func TestLxcfsCalls(t *testing.T) {
	engine.OwnLib(t)
	r := newRPMRoot(t)
	r.rpm(t, append([]string{"-i"}, binaryRPMs(t, shared.first)...)...)
	lxcfs, toolkit := filepath.Join(r.root, "usr/bin/lxcfs"), filepath.Join(r.root, "usr/bin/lxcfs-toolkit")
	dir := t.TempDir()
	traces := 0
	traced := func(args ...string) *exec.Cmd {
		traces++
		return exec.Command("strace", append([]string{"-f", "-o", filepath.Join(dir, "trace"+strconv.Itoa(traces))}, args...)...)
	}
	must := func(cmd *exec.Cmd) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", cmd.Args, err, out)
		}
	}
	must(traced(toolkit, "prestart"))
	pidFile := filepath.Join(dir, "lxcfs.pid")
	daemon := traced(lxcfs, "--keep-mount", "--pidfile", pidFile, "/var/lib/lxc/lxcfs")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	engine.WaitFor(t, "lxcfs to serve", func() bool { return exec.Command(toolkit, "check-lxcfs").Run() == nil })
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(t.Context(), rootfs); err != nil {
		t.Fatal(err)
	}
	c, err := ctr.Start(t.Context(), t.TempDir(), ctr.Options{Rootfs: rootfs, Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Remove()
	must(traced(toolkit, "remount", "--all"))
	must(traced(toolkit, "bind", "/var/lib/lxcfs"))
	for _, file := range []string{"meminfo", "cpuinfo", "stat", "uptime", "loadavg", "swaps", "diskstats", "partitions", "vmstat"} {
		if text, err := c.Exec(t.Context(), "cat", "/proc/"+file); err != nil || file == "meminfo" && !strings.Contains(text, " 65536 kB") {
			t.Errorf("%s: %v, %s", file, err, text)
		}
	}
	must(traced(toolkit, "upgrade"))
	run(t, "kill", "-TERM", strings.TrimSpace(read(t, pidFile)))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("lxcfs does not exit")
	}
	must(traced(toolkit, "poststop", "lxcfs.service"))

	unit := read(t, filepath.Join(r.root, "usr/lib/systemd/system/lxcfs.service"))
	var denied []string
	for group := range strings.FieldsSeq(value(t, unit, "SystemCallFilter=~")) {
		denied = append(denied, engine.SystemCalls(t, group)...)
	}
	namespaces := strings.Fields(value(t, unit, "RestrictNamespaces="))
	made := make(map[string]bool)
	for i := range traces {
		checkTrace(t, read(t, filepath.Join(dir, "trace"+strconv.Itoa(i+1))), denied, namespaces, made)
	}
	for _, name := range []string{"setns", "mount", "openat2", "move_mount", "capset"} {
		if !made[name] {
			t.Logf("%s is not traced", name)
		}
	}
	if len(made) < 40 || !made["setns"] {
		t.Errorf("traced only %v", made)
	}
}

var (
	call       = regexp.MustCompile(`(?m)^\d+ +([a-z][a-z0-9_]*)\(.*$`)
	namespaced = regexp.MustCompile(`CLONE_NEW([A-Z]+)`)
)

// checkTrace checks the calls in the output of strace, and adds them to made.
func checkTrace(t *testing.T, trace string, denied, namespaces []string, made map[string]bool) {
	t.Helper()
	for _, found := range call.FindAllStringSubmatch(trace, -1) {
		line, name := found[0], found[1]
		if slices.Contains(denied, name) && !made[name] {
			t.Errorf("the unit denies %s", line)
		}
		made[name] = true
		if name != "setns" && name != "unshare" && name != "clone" && name != "clone3" {
			continue
		}
		for _, kind := range namespaced.FindAllStringSubmatch(line, -1) {
			if allowed := strings.NewReplacer("NS", "mnt", "CGROUP", "cgroup").Replace(kind[1]); !slices.Contains(namespaces, allowed) {
				t.Errorf("the unit denies %s", line)
			}
		}
	}
}

// value returns the value of a key in a unit.
func value(t *testing.T, unit, key string) string {
	t.Helper()
	_, rest, ok := strings.Cut(unit, "\n"+key)
	if !ok {
		t.Fatalf("the unit has no %s", key)
	}
	text, _, _ := strings.Cut(rest, "\n")
	return text
}
