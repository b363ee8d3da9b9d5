package views

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

func TestParse(t *testing.T) {
	for list, want := range map[string]Set{
		"none": {}, "time": {Time: true}, "affinity,sysinfo": {Sysinfo: true, Affinity: true},
		"time, time": {Time: true}, "all": {true, true, true},
	} {
		got, err := Parse(list)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", list, got, err)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q: String returns %q, which is %v, %v", list, got, again, err)
		}
	}
	for list, word := range map[string]string{
		"": `""`, "time,": `""`, "Time": `"Time"`, "time,none": `"none"`, "time sysinfo": `"time sysinfo"`,
	} {
		if got, err := Parse(list); err == nil || got != (Set{}) ||
			!strings.Contains(err.Error(), "unknown view "+word) ||
			!strings.Contains(err.Error(), "want time, sysinfo, affinity, all or none") {
			t.Errorf("%q: got %v, %v", list, got, err)
		}
	}
}

// container returns the configuration of a container with these namespaces.
func container(namespaces ...specs.LinuxNamespace) *specs.Spec {
	return &specs.Spec{Linux: &specs.Linux{Namespaces: namespaces}}
}

var (
	pid   = specs.LinuxNamespace{Type: specs.PIDNamespace}
	user  = specs.LinuxNamespace{Type: specs.UserNamespace}
	clock = specs.LinuxNamespace{Type: specs.TimeNamespace}
)

func TestTime(t *testing.T) {
	s := container(pid)
	const now = 1234*time.Second + 999*time.Millisecond
	if err := Time(s, now); err != nil {
		t.Fatal(err)
	}
	want := container(pid, clock)
	want.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: -1234}}
	want.Annotations = map[string]string{offsetAnnotation: "-1234"}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v %+v", s.Annotations, s.Linux)
	}
	// A user has changed the offset: it is not ours any more.
	s.Linux.TimeOffsets["boottime"] = specs.LinuxTimeOffset{Secs: -1000}
	undoTime(s)
	if s.Linux.TimeOffsets["boottime"].Secs != -1000 || len(s.Linux.Namespaces) != 2 {
		t.Errorf("the user's offset is gone: %+v", s.Linux)
	}
}

func TestTimeSkips(t *testing.T) {
	withOffset := container(pid)
	withOffset.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1}}
	joined := specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/7/ns/pid"}
	for want, s := range map[string]*specs.Spec{
		"the pid namespace of the host":    container(user),
		"pid namespace of the host":        {},
		"the pid namespace /proc/7/ns/pid": container(joined),
		"a time namespace":                 container(pid, clock),
		"or timeOffsets":                   withOffset,
	} {
		before := *s
		err := Time(s, time.Hour)
		var skipped Skipped
		if !errors.As(err, &skipped) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if !reflect.DeepEqual(before, *s) {
			t.Errorf("%s: the configuration has changed: %+v", want, s)
		}
	}
}

// Features of runtimes, shortened.
var (
	runc = features.Features{
		Linux:       &features.Linux{Namespaces: []string{"pid", "time", "user"}},
		Annotations: map[string]string{runcVersion: "1.5.1"},
	}
	oldRunc = features.Features{
		Linux:       &features.Linux{Namespaces: []string{"pid", "user"}},
		Annotations: map[string]string{runcVersion: "1.1.5+ds1"},
	}
	brokenRunc = features.Features{
		Linux:       &features.Linux{Namespaces: []string{"time"}},
		Annotations: map[string]string{runcVersion: "1.2.5+ds1"},
	}
	fixedRunc = features.Features{
		Linux:       &features.Linux{Namespaces: []string{"time"}},
		Annotations: map[string]string{runcVersion: "1.2.6"},
	}
	crun = features.Features{
		Linux:       &features.Linux{Namespaces: []string{"pid", "user"}},
		Annotations: map[string]string{crunVersion: "1.28", "a": "b"},
	}
)

func TestSupportsTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		f       features.Features
		hasUser bool
		want    string
	}{
		{"runc", runc, true, ""},
		{"the first runc that works", fixedRunc, false, ""},
		{"a runc without exec", brokenRunc, false, "runc 1.2.5+ds1 cannot execute programs"},
		{"a runc without", oldRunc, false, "time namespaces are not supported"},
		{"crun", crun, false, ""},
		{"crun with a user namespace", crun, true, "crun 1.28 cannot set timeOffsets"},
		{"a runtime without the command", features.Features{}, false, "time namespaces are not supported"},
	} {
		err := supportsTime(&tt.f, tt.hasUser)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestApply applies views again and again to the configuration of one bundle.
func TestApply(t *testing.T) {
	all, onlyTime := Set{Time: true, Sysinfo: true, Affinity: true}, Set{Time: true}
	ask := func(f features.Features) func() (*features.Features, error) {
		return func() (*features.Features, error) { return &f, nil }
	}
	fails := func() (*features.Features, error) { return nil, errors.New("no answer") }
	noSocket := func() (string, error) { return "", errors.New("no socket") }
	s := container(pid)
	for _, tt := range []struct {
		name    string
		list    string // the annotation
		ofHost  Set
		runtime func() (*features.Features, error)
		want    string
		hasTime bool
	}{
		{"none", "", Set{}, fails, "[]", false},
		{"the host's", "", onlyTime, ask(runc), "[]", true},
		{"again", "", onlyTime, ask(crun), "[]", true},
		{"an old runtime", "", onlyTime, ask(oldRunc), "[view time: time namespaces are not supported", false},
		{"no answer", "", onlyTime, fails, "[view time: no answer]", false},
		{"the annotation", "time", Set{}, ask(runc), "[]", true},
		{"the annotation instead", "none", all, fails, "[]", false},
		{"others", "all", Set{}, ask(runc), "[view sysinfo,affinity: no socket]", true},
		{"a wrong annotation", "tme", onlyTime, fails, `[annotation palisade.views: unknown view "tme"`, false},
	} {
		delete(s.Annotations, Annotation)
		if tt.list != "" {
			if s.Annotations == nil {
				s.Annotations = make(map[string]string)
			}
			s.Annotations[Annotation] = tt.list
		}
		errs := Apply(s, tt.ofHost, tt.runtime, noSocket)
		var lines []string
		for _, err := range errs {
			lines = append(lines, err.Error())
		}
		if got := "[" + strings.Join(lines, " ") + "]"; !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		_, recorded := s.Annotations[offsetAnnotation]
		namespaces := len(s.Linux.Namespaces)
		if recorded != tt.hasTime || (namespaces == 2) != tt.hasTime || namespaces > 2 ||
			(s.Linux.TimeOffsets["boottime"].Secs < 0) != tt.hasTime {
			t.Errorf("%s: got %v and %+v", tt.name, s.Annotations, s.Linux)
		}
	}
}
