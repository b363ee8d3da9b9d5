//go:build integration

package integration

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"palisade/test/ctr"
)

// measured is a daemon with metrics.
type measured struct {
	*ctr.Daemon
	address, socket string
}

// newMeasured starts a daemon with metrics, and waits until it serves them.
func newMeasured(t *testing.T, dir string, flags ...string) *measured {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	m := &measured{address: l.Addr().String(), socket: filepath.Join(dir, "metrics.sock")}
	m.Daemon = newDaemon(t, dir, append(flags, "--metrics", m.address, "--metrics-socket", m.socket)...)
	m.waitForHelper(t, 0)
	return m
}

// waitForHelper waits for a process other than old that serves the metrics, and returns its pid.
func (m *measured) waitForHelper(t *testing.T, old int) (pid int) {
	t.Helper()
	waitFor(t, "another lxcfs-metrics", func() bool {
		var err error
		pid, err = m.MetricsPID()
		return err == nil && pid != old
	})
	return pid
}

func (m *measured) scrape(t *testing.T) ctr.Metrics {
	t.Helper()
	metrics, err := ctr.Scrape(t.Context(), m.address)
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

const reads, replaced = "palisade_lxcfs_read_duration_seconds", "palisade_lxcfs_workers_replaced_total"

// check compares metrics with values by name and labels.
func check(t *testing.T, what string, m ctr.Metrics, want map[[2]string]float64) {
	t.Helper()
	for key, value := range want {
		if got := m.Value(key[0], key[1]); got != value {
			t.Errorf("%s: got %s{%s} %v, want %v", what, key[0], key[1], got, value)
		}
	}
}

// TestMetrics checks that the metrics count the reads in a container, across crashes of each
// process and an upgrade.
func TestMetrics(t *testing.T) {
	d := newMeasured(t, t.TempDir())
	c := start(t, ctr.Options{Memory: 64 * mib, Lxcfs: d.Mountpoint})
	read := func(times int, file string) {
		t.Helper()
		inside(t, c, "sh", "-c", `for i in $(seq `+strconv.Itoa(times)+`); do cat /proc/`+file+` >/dev/null; done`)
	}
	read(1, "stat") // after reads of the starting container
	before := d.scrape(t)
	meminfo := before.Value(reads, `file="meminfo"`)
	read(7, "meminfo")
	read(3, "stat")
	after := d.scrape(t)
	check(t, "after ten reads", after, map[[2]string]float64{
		{reads, `file="meminfo"`}: meminfo + 7, {reads, `file="stat"`}: before.Value(reads, `file="stat"`) + 3,
		{reads, `file="cpuinfo"`}: before.Value(reads, `file="cpuinfo"`), {"palisade_lxcfs_containers", ""}: 1,
		{"palisade_lxcfs_worker_up", ""}: 1, {"palisade_lxcfs_pressure_triggers", ""}: 0,
		{"palisade_lxcfs_fallbacks_total", `file="meminfo"`}: 0, {"palisade_lxcfs_errors_total", `kind="panic"`}: 0,
		{replaced, `reason="killed"`}: 0, {"palisade_build_info", `program="lxcfs",version="unknown"`}: 1,
	})
	// Each is an open, two reads and a release at least.
	if more := after.Value("palisade_lxcfs_requests_total", "") - before.Value("palisade_lxcfs_requests_total", ""); more < 40 || more > 400 {
		t.Errorf("got %v requests for ten reads, want 40 to 400", more)
	}
	if sum := after[reads].GetMetric()[0].GetHistogram().GetSampleSum(); sum < 0 || sum > 60 {
		t.Errorf("got a read time of %v s, want 0 to 60", sum)
	}

	killWorker(t, d.Daemon)
	waitFor(t, "a worker that serves", func() bool { return d.scrape(t).Value("palisade_lxcfs_worker_up", "") == 1 })
	read(2, "meminfo")
	check(t, "after a crash of the worker", d.scrape(t), map[[2]string]float64{
		{reads, `file="meminfo"`}: meminfo + 9, {replaced, `reason="killed"`}: 1, {replaced, `reason="crashed"`}: 0, {"palisade_lxcfs_containers", ""}: 1,
	})

	helper := d.waitForHelper(t, 0)
	if err := syscall.Kill(helper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	read(1, "meminfo")
	check(t, "after a crash of lxcfs-metrics", d.scrape(t), map[[2]string]float64{{reads, `file="meminfo"`}: meminfo + 10, {replaced, `reason="killed"`}: 1})
	helper = d.waitForHelper(t, helper)

	if err := d.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	helper = d.waitForHelper(t, helper)
	check(t, "after an upgrade", d.scrape(t), map[[2]string]float64{
		{reads, `file="meminfo"`}: meminfo + 10, {replaced, `reason="upgrade"`}: 1, {replaced, `reason="killed"`}: 1,
	})
	checkSocket(t, d)
	// The helper exits with lxcfs.
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	waitFor(t, "the end of lxcfs-metrics", func() bool { return errors.Is(syscall.Kill(helper, 0), syscall.ESRCH) })
	if _, err := os.Lstat(d.socket); err == nil {
		t.Errorf("%s still exists", d.socket)
	}
	if log := d.Log(); countErrors(log) > 0 || strings.Count(log, "lxcfs-metrics ended") != 1 {
		t.Errorf("unexpected log: %s", log)
	}
}

// checkSocket checks the metrics at the unix socket, which only root can use.
func checkSocket(t *testing.T, d *measured) {
	t.Helper()
	info, err := os.Stat(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); info.Mode() != os.ModeSocket|0o600 || owner.Uid != 0 || owner.Gid != 0 {
		t.Errorf("%s: got mode %v, owner %d:%d, want 0600, root", d.socket, info.Mode(), owner.Uid, owner.Gid)
	}
	if m, err := ctr.Scrape(t.Context(), d.socket); err != nil || m.Value("palisade_lxcfs_worker_up", "") != 1 {
		t.Errorf("got metrics %v, %v", m, err)
	}
}

// TestMetricsPrivileges checks the privileges of the process that answers HTTP.
func TestMetricsPrivileges(t *testing.T) {
	d := newMeasured(t, t.TempDir())
	d.scrape(t) // it is confined before it answers
	helper := d.waitForHelper(t, 0)
	checkPrivileges(t, helper, 0)
	checkReadsCounters(t, helper)
	checkPrivileges(t, workerOf(t, d.Daemon), workerCapabilities)
}

// checkReadsCounters checks that the process has the memory of the counters mapped and open,
// read-only.
func checkReadsCounters(t *testing.T, pid int) {
	t.Helper()
	const memory = "lxcfs-counters"
	seen := 0
	for line := range strings.Lines(hostFile(t, filepath.Join("/proc", strconv.Itoa(pid), "maps"))) {
		if !strings.Contains(line, memory) {
			continue
		}
		seen++
		if rights := strings.Fields(line)[1]; rights != "r--s" {
			t.Errorf("the counters are mapped %s, want r--s", rights)
		}
	}
	links, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, _ := os.Readlink(link); !strings.Contains(target, memory) { // may have been closed meanwhile
			continue
		}
		seen++
		if info, err := os.Lstat(link); err != nil || info.Mode().Perm() != 0o500 { // of a descriptor opened read-only
			t.Errorf("the counters are open with %v, %v, want read-only", info, err)
		}
	}
	if seen < 2 {
		t.Errorf("the counters are mapped or open %d times, want at least 2", seen)
	}
}

// TestMetricsAlone checks that lxcfs-metrics explains itself when a user starts it.
func TestMetricsAlone(t *testing.T) {
	program := filepath.Join(filepath.Dir(shared.lxcfs), "lxcfs-metrics")
	for _, tt := range []struct{ args, env []string }{
		{nil, nil}, {[]string{"--help"}, nil}, {nil, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=other"}}, {nil, []string{"LISTEN_FDS=x"}},
	} {
		cmd := exec.Command(program, tt.args...)
		cmd.Env = tt.env
		out, _ := cmd.CombinedOutput() // the error is the exit code
		if code := cmd.ProcessState.ExitCode(); code != 2 || string(out) != "lxcfs-metrics: only lxcfs starts this program; "+
			"ask for metrics by lxcfs --metrics ADDRESS, or --metrics-socket PATH\n" {
			t.Errorf("%v: exit code %d, %s", tt, code, out)
		}
	}
}

// TestMetricsCalls checks that metrics cost no system calls per read.
func TestMetricsCalls(t *testing.T) {
	d := newMeasured(t, t.TempDir())
	c := start(t, ctr.Options{Lxcfs: d.Mountpoint, Memory: 64 * mib, Quota: 150000, CgroupNamespace: true})
	sum := 0.
	calls := systemCalls(t, d.Daemon, c, "/proc/cpuinfo")
	for _, n := range calls {
		sum += n
	}
	if sum > 7.5 || sum < 1 {
		t.Errorf("got %.1f system calls per read, want 1 to 7.5: %v", sum, calls)
	}
}

// TestMetricsMissing checks that lxcfs serves files, and logs one error, if it cannot serve
// metrics.
func TestMetricsMissing(t *testing.T) {
	first := newMeasured(t, t.TempDir())
	inTheWay := filepath.Join(t.TempDir(), "file")
	write(t, inTheWay, "")
	alone := filepath.Join(t.TempDir(), "lxcfs")
	if err := os.Link(shared.lxcfs, alone); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		program string
		flags   []string
		want    string
	}{
		"address in use":            {shared.lxcfs, []string{"--metrics", first.address}, "address already in use"},
		"socket in use":             {shared.lxcfs, []string{"--metrics-socket", first.socket}, "another process listens to " + first.socket},
		"address of another host":   {shared.lxcfs, []string{"--metrics", "192.0.2.1:9436"}, "192.0.2.1:9436"},
		"file in place of a socket": {shared.lxcfs, []string{"--metrics-socket", inTheWay}, inTheWay + " is not a socket"},
		"missing program":           {alone, []string{"--metrics-socket", filepath.Join(t.TempDir(), "s")}, "lxcfs-metrics: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/usr/libexec/palisade/lxcfs-metrics"); err == nil && tt.program == alone {
				t.Fatal("remove the package palisade-lxcfs, whose lxcfs-metrics would be used")
			}
			d, err := ctr.StartDaemon(t.Context(), tt.program, t.TempDir(), tt.flags...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Stop() }) // if the test fails before
			waitFor(t, "a log line", func() bool { return strings.Contains(d.Log(), "metrics are not served") })
			killWorker(t, d)
			hostFile(t, filepath.Join(d.Mountpoint, "proc/uptime"))
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
			if log := d.Log(); countErrors(log) != 1 || !strings.Contains(log, tt.want) {
				t.Errorf("unexpected log: %s", log)
			}
		})
	}
	first.scrape(t)
	checkSocket(t, first)
}

// TestMetricsAfterCrash checks that after a crash the next lxcfs takes over socket and address.
func TestMetricsAfterCrash(t *testing.T) {
	dir := t.TempDir()
	d := newMeasured(t, dir)
	helper := d.waitForHelper(t, 0)
	if err := d.Crash(); err != nil {
		t.Fatal(err)
	}
	next := newDaemon(t, dir, "--metrics", d.address, "--metrics-socket", d.socket)
	d.Daemon = next
	d.waitForHelper(t, helper)
	check(t, "after a crash of lxcfs", d.scrape(t), map[[2]string]float64{{replaced, `reason="killed"`}: 0, {"palisade_lxcfs_worker_up", ""}: 1})
	checkSocket(t, d)
}

// TestV2Metrics checks that pressure triggers are counted, also after a crash of the worker.
func TestV2Metrics(t *testing.T) {
	requireV2(t)
	dir := t.TempDir()
	d := &measured{socket: filepath.Join(dir, "metrics.sock")}
	d.Daemon = newDaemon(t, dir, "--metrics-socket", d.socket)
	d.waitForHelper(t, 0)
	c := start(t, ctr.Options{Memory: 64 * mib, Lxcfs: d.Mountpoint})
	waitForTriggers := func(n float64) {
		t.Helper()
		waitFor(t, "the number of triggers", func() bool {
			m, err := ctr.Scrape(t.Context(), d.socket)
			return err == nil && m.Value("palisade_lxcfs_pressure_triggers", "") == n && m.Value("palisade_lxcfs_worker_up", "") == 1
		})
	}
	waitForTriggers(0)
	if err := c.ExecStart(t.Context(), "load", "psi", "/proc/pressure/memory", "full 900000 1000000"); err != nil {
		t.Fatal(err)
	}
	waitForTriggers(1)
	killWorker(t, d.Daemon)
	waitForTriggers(1)
	inside(t, c, "killall", "load")
	waitForTriggers(0)
}
