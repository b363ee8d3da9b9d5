//go:build integration

// Package clients runs real programs in containers with limits, and compares what they show with
// the table in docs/lxcfs.md. It runs as root.
package clients

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/cli/golden"
	"palisade/internal/oci/views"
	"palisade/test/ctr"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "show" { // in a container: the client written in Go
		fmt.Println("NumCPU", runtime.NumCPU(), "GOMAXPROCS", runtime.GOMAXPROCS(0))
		return
	}
	suite := ctr.Suite{Name: "clients", OnHost: true}
	suite.Run(m)
}

// minUptime is the age from which the host's uptime differs from a container's in minutes, which
// many clients print.
const minUptime = 2 * time.Minute

// TestClients compares the verdicts on all clients with testdata. With -update it writes them, and
// the versions of the clients.
func TestClients(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("needs a host with at least 2 CPUs")
	}
	host := hostFacts(t)
	time.Sleep(minUptime - time.Since(host.booted))
	newWorld(t).check(t, host, hierarchy(), ctr.Options{}, func(*figure) bool { return true })
	if isUpdate() {
		golden.Check(t, tablePath("versions"), versions(t))
	}
}

// TestTimeView compares the verdicts on clients that ask the kernel, in a container with the view of
// time.
func TestTimeView(t *testing.T) {
	host := hostFacts(t)
	time.Sleep(minUptime - time.Since(host.booted))
	w := newWorld(t)
	w.check(t, host, "time-"+hierarchy(), w.timeView(t), (*figure).dependsOnViews)
}

// TestCallViews does so with the views of system calls.
func TestCallViews(t *testing.T) {
	host := hostFacts(t)
	time.Sleep(minUptime - time.Since(host.booted))
	w := newWorld(t)
	var linux specs.Linux
	calls := []string{"sysinfo", "sched_getaffinity"}
	if err := views.Calls(&linux, calls, w.daemon.CallsSocket()); err != nil {
		t.Fatal(err)
	}
	o := ctr.Options{Seccomp: linux.Seccomp}
	w.check(t, host, "calls-"+hierarchy(), o, (*figure).dependsOnViews)
}

// check compares the verdicts on wanted figures with the table of the name.
func (w *world) check(
	t *testing.T, host facts, name string, o ctr.Options, isWanted func(*figure) bool,
) {
	t.Helper()
	byCpuset, byQuota := o, o
	byCpuset.CPUs, byQuota.Quota = "0", 100000
	all := w.judge(t, host, byCpuset, isWanted)
	// Without a view, clients that use system calls see a cpuset, but no quota.
	cpus := w.judge(t, host, byQuota, func(f *figure) bool { return f.isCPUs() && isWanted(f) })
	recorded := readTable(t, name)
	var b strings.Builder
	for _, c := range clients {
		for _, f := range c.figures {
			if !isWanted(&f) {
				continue
			}
			verdict := all[key(c, f)]
			if f.isCPUs() {
				verdict = combined(verdict, cpus[key(c, f)])
			}
			if f.isSwap() && host.hostSwap == 0 {
				t.Logf("%s: this host has no swap: %q is not checked", key(c, f), recorded[key(c, f)])
				verdict = cmp.Or(recorded[key(c, f)], "not measured")
			}
			fmt.Fprintf(&b, "%s\t%s\n", key(c, f), verdict)
		}
	}
	checkVerdicts(t, name, b.String())
}

// timeView returns the options of a container with the view of time.
func (w *world) timeView(t *testing.T) ctr.Options {
	t.Helper()
	hooks, err := json.Marshal(w.hooks)
	if err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(w.dir, "hooks.json")
	if err := os.WriteFile(spec, hooks, 0o600); err != nil {
		t.Fatal(err)
	}
	runtime, err := ctr.NewRuntime(t.Context(), "runc")
	if err != nil {
		t.Fatal(err)
	}
	return ctr.Options{
		Runtime: runtime,
		Wrapper: []string{w.toolkit, "--runtime-dir", filepath.Join(w.dir, "toolkit"), "runtime",
			"--strict", "--views", "time", "--hook-spec", spec, "--runtime", runtime, "--"},
	}
}

// hierarchy returns the version of the cgroups.
func hierarchy() string {
	if ctr.OnV2() {
		return "v2"
	}
	return "v1"
}

// checkVerdicts compares verdicts with the table of the name, and writes them to the directory in
// PALISADE_VERDICTS.
func checkVerdicts(t *testing.T, name, verdicts string) {
	t.Helper()
	if dir := os.Getenv("PALISADE_VERDICTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".tsv"), []byte(verdicts), 0o644); err != nil {
			t.Error(err)
		}
	}
	golden.Check(t, tablePath(name), verdicts)
}

func isUpdate() bool { return flag.Lookup("update").Value.String() == "true" }

// combined returns the verdict on a number of CPUs from those with each kind of limit.
func combined(byCpuset, byQuota string) string {
	if byCpuset == byQuota {
		return byCpuset
	}
	return byCpuset + " with a cpuset; " + byQuota + " with a quota"
}

// world is the environment of the containers: a root file system, and lxcfs with its hook.
type world struct {
	dir, rootfs, toolkit string
	daemon               *ctr.Daemon
	hooks                *specs.Hooks
}

// newWorld starts a daemon, and makes a root file system whose /usr and /etc are this machine's.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{dir: dir, rootfs: filepath.Join(dir, "rootfs")}
	for _, sub := range []string{"dev", "etc", "proc", "run", "sys", "tmp", "usr"} {
		if err := os.MkdirAll(filepath.Join(w.rootfs, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+sub, filepath.Join(w.rootfs, sub)); err != nil {
			t.Fatal(err)
		}
	}
	lxcfs, err := ctr.Program(t.Context(), dir, "lxcfs", "palisade/cmd/lxcfs")
	if err != nil {
		t.Fatal(err)
	}
	toolkit, err := ctr.Program(t.Context(), dir, "toolkit", "palisade/cmd/lxcfs-toolkit")
	if err != nil {
		t.Fatal(err)
	}
	if w.daemon, err = ctr.StartDaemon(t.Context(), lxcfs, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.daemon.Stop(); err != nil {
			t.Error(err)
		}
	})
	args := []string{"lxcfs-toolkit", "hook", "--strict", "--mountpoint", w.daemon.Mountpoint,
		"--runtime-dir", filepath.Join(dir, "toolkit")}
	w.toolkit = toolkit
	w.hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: toolkit, Args: args}}}
	return w
}

// start starts a container. Under an emulated CPU lxcfs may take longer to answer than the hook
// waits.
func (w *world) start(t *testing.T, o ctr.Options) *ctr.Container {
	t.Helper()
	for attempts := 5; ; attempts-- {
		c, err := ctr.Start(t.Context(), w.dir, o)
		switch {
		case err == nil:
			return c
		case attempts == 1:
			t.Fatalf("%v: the daemon's log: %s", err, w.daemon.Log())
		}
		t.Log(err)
	}
}

// judge starts a container with the limits in o, runs the clients that show wanted figures, and
// returns the verdicts by key.
func (w *world) judge(
	t *testing.T, host facts, o ctr.Options, isWanted func(*figure) bool,
) map[string]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bind := func(from, to string) specs.Mount {
		options := []string{"rbind", "ro"}
		return specs.Mount{Destination: to, Type: "bind", Source: from, Options: options}
	}
	o.Rootfs, o.ReadOnly = w.rootfs, true
	if len(o.Wrapper) == 0 {
		o.Hooks = w.hooks
	}
	o.Memory, o.MemorySwap = memoryLimit, memoryLimit+swapLimit
	o.CgroupNamespace = ctr.OnV2()
	o.Mounts = []specs.Mount{
		bind(cmp.Or(os.Getenv("PALISADE_USR"), "/usr"), "/usr"),
		bind(cmp.Or(os.Getenv("PALISADE_ETC"), "/etc"), "/etc"),
		bind(self, "/clients.test"),
		bind("/proc/loadavg", "/loadavg"),
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
	}
	o.Devices = []specs.LinuxDevice{hostDisk(t)}
	var wanted []client
	for _, c := range clients {
		isUnwanted := func(f figure) bool { return !isWanted(&f) }
		c.figures = slices.DeleteFunc(slices.Clone(c.figures), isUnwanted)
		if len(c.figures) > 0 {
			wanted = append(wanted, c)
		}
	}
	// Clients print command lines: the script's must not contain the marks.
	file := filepath.Join(w.dir, "clients.sh")
	if err := os.WriteFile(file, []byte(script(wanted)), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Mounts = append(o.Mounts, bind(file, "/clients.sh"))
	o.Args = []string{"sh", "/clients.sh"}
	c := w.start(t, o)
	f := host
	f.started = time.Now()
	defer func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon's log: %s", w.daemon.Log())
		}
	}()
	outputs := strings.Split(waitOutput(t, c), mark)
	f.disks = diskNames(outputs[0])
	verdicts := make(map[string]string)
	for i, c := range wanted {
		seconds, output, _ := strings.Cut(outputs[i+1], "\n")
		f.now = time.Unix(int64(numbers(seconds, `(\d+)`)[0]), 0)
		for _, figure := range c.figures {
			verdict := figure.judge(&f, output)
			verdicts[key(c, figure)] = verdict
			if !strings.HasPrefix(verdict, "right") {
				t.Logf("%s: %s: %q", key(c, figure), verdict, output)
			}
		}
	}
	return verdicts
}

// mark is printed before the output of each client, with the time, and at the end.
const mark = "== client at "

// script returns a script that prints the container's disks and runs the clients, each for a minute
// at most. It is the container's init: a runtime takes seconds under an emulated CPU to run a
// program.
func script(wanted []client) string {
	var b strings.Builder
	b.WriteString("export PATH=/usr/bin:/usr/sbin TERM=xterm LC_ALL=C; cd /tmp; cat /proc/diskstats\n")
	for _, c := range wanted {
		quoted := "'" + strings.ReplaceAll(c.command, "'", `'\''`) + "'"
		fmt.Fprintf(&b, "echo '%s'$(date +%%s); timeout 60 sh -c %s </dev/null 2>&1\n", mark, quoted)
	}
	b.WriteString("echo '" + mark + "end'; sleep 1000000")
	return b.String()
}

// waitOutput waits until the container's script has ended, and returns what it has printed.
func waitOutput(t *testing.T, c *ctr.Container) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		output, hasEnded := strings.CutSuffix(c.Log(), mark+"end\n")
		if hasEnded {
			return output
		}
		if time.Now().After(deadline) {
			t.Fatalf("clients have not ended: %s", output)
		}
	}
}

// hostFacts returns the facts about this machine.
func hostFacts(t *testing.T) (f facts) {
	t.Helper()
	for line := range strings.Lines(hostFile(t, "/proc/stat")) {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "btime":
			seconds, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			f.booted = time.Unix(seconds, 0)
		case fields[0] == "intr":
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			f.interrupts = n
		}
	}
	swap := numbers(hostFile(t, "/proc/meminfo"), `SwapTotal: +(\d+)`)
	f.hostSwap = uint64(swap[0]) * 1024
	return f
}

func hostFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hostDisk returns a disk of this machine as a device for a container, with another name.
func hostDisk(t *testing.T) specs.LinuxDevice {
	t.Helper()
	disks, err := filepath.Glob("/sys/block/*/device") // not virtual ones, such as loop devices
	if err != nil || len(disks) == 0 {
		t.Fatalf("no disk in /sys/block: %v", err)
	}
	number := numbers(hostFile(t, filepath.Join(filepath.Dir(disks[0]), "dev")), `(\d+):(\d+)`)
	return specs.LinuxDevice{
		Path: "/dev/data", Type: "b", Major: int64(number[0]), Minor: int64(number[1]),
	}
}

// diskNames returns the names in a text of /proc/diskstats.
func diskNames(diskstats string) (names []string) {
	for line := range strings.Lines(diskstats) {
		if fields := strings.Fields(line); len(fields) > 3 {
			names = append(names, fields[2])
		}
	}
	slices.Sort(names)
	return names
}

// versions returns the versions of the clients' packages, without Debian's revisions.
func versions(t *testing.T) string {
	t.Helper()
	upstream := regexp.MustCompile(`^(?:\d+:)?([^-+~]+)`)
	known := make(map[string]bool)
	var b strings.Builder
	for _, c := range clients {
		if c.pkg == "" || known[c.pkg] {
			continue
		}
		known[c.pkg] = true
		cmd := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${Version}", c.pkg)
		out, err := cmd.Output()
		version := upstream.FindStringSubmatch(string(out))
		if err != nil || version == nil {
			t.Fatalf("package %s is not installed: %v (make deps installs it)", c.pkg, err)
		}
		fmt.Fprintf(&b, "%s\t%s\n", c.pkg, version[1])
	}
	return b.String()
}
