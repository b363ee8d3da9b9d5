//go:build integration

package toolkit

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci/views"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// timeView is a runtime wrapper for containers with the view of time.
func (h *host) timeView(t *testing.T, name string, options ...string) ctr.Options {
	t.Helper()
	runtime, err := ctr.NewRuntime(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	options = append([]string{"runtime", "--strict", "--views", "time", "--runtime", runtime}, options...)
	return ctr.Options{
		Rootfs: shared.rootfs, ReadOnly: true, Runtime: runtime,
		Wrapper: append(append([]string{shared.toolkit}, h.args(options...)...), "--"),
	}
}

// startView starts a container, which is removed after the test.
func (h *host) startView(t *testing.T, o ctr.Options) *ctr.Container {
	t.Helper()
	c, err := ctr.Start(t.Context(), h.dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// clocks are what a container shows of its time since boot, in seconds. Process 1 has started at
// started, by /proc/1/stat.
type clocks struct{ uptime, started, sysinfo, btime float64 }

// showClocks is a script that shows clocks. uptime -s of busybox is the time of day minus sysinfo(2).
const showClocks = `cut -d' ' -f1 /proc/uptime
cut -d' ' -f22 /proc/1/stat
date +%s -d "$(uptime -s)"
sed -n 's/^btime //p' /proc/stat`

func clocksOf(t *testing.T, c *ctr.Container) clocks {
	t.Helper()
	out, err := c.Exec(t.Context(), "/bin/sh", "-c", showClocks)
	if err != nil {
		t.Fatal(err)
	}
	return parseClocks(t, out)
}

func parseClocks(t *testing.T, out string) (k clocks) {
	t.Helper()
	lines := strings.Fields(out)
	if len(lines) != 4 {
		t.Fatalf("got %q", out)
	}
	for i, to := range []*float64{&k.uptime, &k.started, &k.sysinfo, &k.btime} {
		var err error
		if *to, err = strconv.ParseFloat(lines[i], 64); err != nil {
			t.Fatal(err)
		}
	}
	k.started /= 100
	return k
}

// check checks that the clocks agree, and that the boot was at a time since 1970.
func (k clocks) check(t *testing.T, name string, boot time.Time) {
	t.Helper()
	// The boot is a whole second of the clock, up to one before the start.
	const most = 60 // an emulated CPU needs seconds for a program
	since := time.Since(boot).Seconds()
	if k.uptime < since-most || k.uptime > since+1 {
		t.Errorf("%s: uptime %.2f, want %.2f", name, k.uptime, since)
	}
	if k.started < 0 || k.started > k.uptime {
		t.Errorf("%s: process 1 has started at %.2f, uptime is %.2f", name, k.started, k.uptime)
	}
	at := float64(boot.UnixNano()) / 1e9
	if k.btime < at-2 || k.btime > at+most {
		t.Errorf("%s: btime %.0f, want %.0f", name, k.btime, at)
	}
	if k.sysinfo < k.btime-1 || k.sysinfo > k.btime+1 {
		t.Errorf("%s: boot at %.0f by sysinfo, at %.0f by btime", name, k.sysinfo, k.btime)
	}
}

// TestTimeView starts containers with the view of time: all clocks count from the start.
func TestTimeView(t *testing.T) {
	h := newHost(t)
	h.start(t)
	for _, tt := range []struct {
		name, runtime string
		edit          func(*ctr.Options)
	}{
		{"runc", "runc", func(*ctr.Options) {}},
		{"crun", "crun", func(*ctr.Options) {}},
		{"runc with a user namespace", "runc", func(o *ctr.Options) { o.UserOffset = 100000 }},
		{"runc with a cgroup namespace", "runc", func(o *ctr.Options) { o.CgroupNamespace = true }},
	} {
		o := h.timeView(t, tt.runtime)
		tt.edit(&o)
		began := time.Now()
		c := h.startView(t, o)
		k := clocksOf(t, c)
		k.check(t, tt.name, began)
		if k.uptime > time.Since(began).Seconds()+1 {
			t.Errorf("%s: uptime %.2f is more than since the start", tt.name, k.uptime)
		}
	}
}

// TestTimeViewAgain uses a bundle again, with the view and without.
func TestTimeViewAgain(t *testing.T) {
	h := newHost(t)
	h.start(t)
	runtime, err := ctr.NewRuntime(t.Context(), "runc")
	if err != nil {
		t.Fatal(err)
	}
	dir, id := h.bundle(t, "cut -d' ' -f1 /proc/uptime; cat /proc/self/timens_offsets")
	offsets := make(map[int64]bool)
	for _, list := range []string{"time", "time", "none", "time"} {
		args := []string{"runtime", "--views", list, "--strict", "--runtime", runtime, "--", "run", "--bundle", dir, id}
		r := h.must(t, args...)
		uptime, rest, _ := strings.Cut(r.Stdout, "\n")
		if seconds, err := strconv.ParseFloat(uptime, 64); err != nil || seconds > 60 {
			t.Errorf("views %s: uptime %q", list, uptime)
		}
		h.editConfig(t, dir, func(s *specs.Spec) {
			offset := s.Linux.TimeOffsets["boottime"].Secs
			isAhead := strings.Contains(rest, strconv.FormatInt(offset, 10))
			if (offset != 0) != (list == "time") || !isAhead {
				t.Errorf("views %s: %+v, and the container has %q", list, s.Linux.TimeOffsets, rest)
			}
			if offset != 0 {
				offsets[offset] = true
			}
		})
		time.Sleep(time.Second + time.Second/10) // the offset is in whole seconds
	}
	if len(offsets) != 3 {
		t.Errorf("three starts have the offsets %v", offsets)
	}
}

// TestTimeViewMissing starts containers that do not get the view.
func TestTimeViewMissing(t *testing.T) {
	h := newHost(t)
	h.start(t)
	peer := h.startView(t, ctr.Options{Rootfs: shared.rootfs, ReadOnly: true})
	crun, err := ctr.NewRuntime(t.Context(), "crun")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, runtime, log string
		edit               func(*specs.Spec)
	}{
		{"an old runc", "runc", "/runc: view time: " +
			"time namespaces are not supported: want runc 1.2.6, crun 1.8.6 or a later version", func(*specs.Spec) {}},
		{"a new crun with a user namespace", crun, "cannot set timeOffsets in a user namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
			s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
		}},
		{"another container's processes", "", "shares the pid namespace /proc/", func(s *specs.Spec) {
			for i, n := range s.Linux.Namespaces {
				if n.Type == specs.PIDNamespace {
					s.Linux.Namespaces[i].Path = filepath.Join("/proc", strconv.Itoa(peer.PID), "ns/pid")
				}
			}
		}},
		{"none by annotation", "", "", func(s *specs.Spec) {
			s.Annotations = map[string]string{views.Annotation: "none"}
		}},
		{"an unknown view", "", `annotation palisade.views: unknown view "tme" in "tme"`, func(s *specs.Spec) {
			s.Annotations = map[string]string{views.Annotation: "tme"}
		}},
		{"its own offsets", "", "has a time namespace or timeOffsets", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 7}}
		}},
	} {
		dir, id := h.bundle(t, "sed -n 's/^boottime *//p' /proc/self/timens_offsets")
		h.editConfig(t, dir, tt.edit)
		runtime := tt.runtime
		if runtime == "" {
			if runtime, err = ctr.NewRuntime(t.Context(), "runc"); err != nil {
				t.Fatal(err)
			}
		}
		args := append([]string{shared.toolkit, "--log-level", "info"},
			h.args("runtime", "--views", "time", "--runtime", runtime, "--", "run", "--bundle", dir, id)...)
		args = ctr.CommandLine(runtime, args...)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		var out, log strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v: %s", tt.name, err, log.String())
		}
		if got := strings.Fields(out.String()); len(got) != 2 || got[0] != "0" {
			t.Errorf("%s: got the offset %q", tt.name, out.String())
		}
		if !strings.Contains(log.String(), tt.log) || (tt.log == "") == strings.Contains(log.String(), "lxcfs-toolkit: ") {
			t.Errorf("%s: got %q, want %q", tt.name, log.String(), tt.log)
		}
	}
	t.Setenv("PALISADE_VIEWS", "tme")
	if r := h.run(t, "", "runtime", "--", "--version"); r.Code != 2 || !strings.Contains(r.Stderr, `unknown view "tme"`) {
		t.Errorf("an unknown view in the environment: %+v", r)
	}
}

// TestTimeViewNested runs the wrapper in a time namespace, as in a container that has the view.
func TestTimeViewNested(t *testing.T) {
	h := newHost(t)
	h.start(t)
	runtime, err := ctr.NewRuntime(t.Context(), "runc")
	if err != nil {
		t.Fatal(err)
	}
	dir, id := h.bundle(t, showClocks)
	args := append([]string{"--time", "--boottime", "1000000", "--fork", shared.toolkit},
		h.args("runtime", "--strict", "--views", "time", "--runtime", runtime, "--", "run", "--bundle", dir, id)...)
	began := time.Now()
	r := wantSuccess(t, args, engine.Run(t, "", "unshare", args...))
	parseClocks(t, r.Stdout).check(t, "nested", began)
}
