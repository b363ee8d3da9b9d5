package views

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCalls(t *testing.T) {
	both := []string{"sysinfo", "sched_getaffinity"}
	rule := func(action specs.LinuxSeccompAction, names ...string) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: names, Action: action}
	}
	withArgs := rule(specs.ActAllow, "sysinfo", "personality")
	withArgs.Args = []specs.LinuxSeccompArg{{Index: 0, Value: 8, Op: specs.OpEqualTo}}
	one := uint(1)
	for name, tt := range map[string]struct {
		action      specs.LinuxSeccompAction
		rules, want []specs.LinuxSyscall
		err         string
	}{
		"allow list": {specs.ActErrno,
			[]specs.LinuxSyscall{rule(specs.ActAllow, "read", "sysinfo", "sched_getaffinity"), rule(specs.ActErrno, "mount")},
			[]specs.LinuxSyscall{rule(specs.ActAllow, "read"), rule(specs.ActErrno, "mount"), rule(specs.ActNotify, both...)}, ""},
		"rule of its own": {specs.ActErrno,
			[]specs.LinuxSyscall{rule(specs.ActAllow, "read"), rule(specs.ActAllow, "sysinfo")},
			[]specs.LinuxSyscall{rule(specs.ActAllow, "read"), rule(specs.ActNotify, "sysinfo")}, ""},
		"deny list": {specs.ActAllow,
			[]specs.LinuxSyscall{{Names: []string{"sysinfo"}, Action: specs.ActErrno, ErrnoRet: &one}},
			[]specs.LinuxSyscall{{Names: []string{"sysinfo"}, Action: specs.ActErrno, ErrnoRet: &one}, rule(specs.ActNotify, "sched_getaffinity")}, ""},
		"logged": {specs.ActLog, nil, []specs.LinuxSyscall{rule(specs.ActNotify, both...)}, ""},
		"listed twice": {specs.ActErrno,
			[]specs.LinuxSyscall{rule(specs.ActAllow, "sysinfo"), rule(specs.ActLog, "sysinfo", "read")},
			[]specs.LinuxSyscall{rule(specs.ActLog, "read"), rule(specs.ActNotify, "sysinfo")}, ""},
		"allowed with some arguments": {specs.ActErrno, []specs.LinuxSyscall{withArgs}, nil, "restricts"},
		"denied":                      {specs.ActKillProcess, []specs.LinuxSyscall{rule(specs.ActAllow, "read")}, nil, "denies"},
		"a rule that notifies": {specs.ActAllow,
			[]specs.LinuxSyscall{rule(specs.ActNotify, "mount")}, nil, "already has a listener"},
	} {
		old := &specs.LinuxSeccomp{DefaultAction: tt.action, Syscalls: tt.rules,
			Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86}}
		linux := &specs.Linux{Seccomp: old}
		err := Calls(linux, both, "/run/socket")
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || linux.Seccomp != old {
				t.Errorf("%s: got %v and %+v, want an error with %q", name, err, linux.Seccomp, tt.err)
			}
			continue
		}
		got := linux.Seccomp
		if err != nil || !reflect.DeepEqual(got.Syscalls, tt.want) || got.ListenerPath != "/run/socket" ||
			!strings.HasPrefix(got.ListenerMetadata, metadataPrefix) || len(got.Architectures) != 2 {
			t.Errorf("%s: got %v, %+v, want %+v", name, err, got, tt.want)
		}
	}
}

// TestCallsOfEngines checks that of an engine's profile only the action of the calls changes.
func TestCallsOfEngines(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) != 4 {
		t.Fatalf("got %q, %v, want 4 profiles", files, err)
	}
	for _, file := range files {
		before := readProfile(t, file)
		linux := &specs.Linux{Seccomp: readProfile(t, file)}
		names := []string{"sysinfo", "sched_getaffinity"}
		if err := Calls(linux, names, "/run/socket"); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		want, got := rulesByName(before), rulesByName(linux.Seccomp)
		for _, name := range names {
			allow := []specs.LinuxSyscall{{Action: specs.ActAllow}}
			if !reflect.DeepEqual(want[name], allow) {
				t.Errorf("%s: the engine has %+v for %s", file, want[name], name)
			}
			want[name] = []specs.LinuxSyscall{{Action: specs.ActNotify}}
		}
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Errorf("%s: %s has %+v, want %+v", file, name, got[name], want[name])
			}
		}
		after := *linux.Seccomp
		if after.ListenerPath != "/run/socket" || len(got) != len(want) {
			t.Errorf("%s: socket %s, %d calls, want %d", file, after.ListenerPath, len(got), len(want))
		}
		after.Syscalls, after.ListenerPath, after.ListenerMetadata = before.Syscalls, "", ""
		if !reflect.DeepEqual(&after, before) {
			t.Errorf("%s: more than the rules has changed: %+v", file, after)
		}
	}
}

func readProfile(t *testing.T, file string) *specs.LinuxSeccomp {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	profile := new(specs.LinuxSeccomp)
	if err := json.NewDecoder(r).Decode(profile); err != nil {
		t.Fatal(err)
	}
	return profile
}

// rulesByName returns the rules of each system call, without their names.
func rulesByName(profile *specs.LinuxSeccomp) map[string][]specs.LinuxSyscall {
	rules := make(map[string][]specs.LinuxSyscall)
	for _, rule := range profile.Syscalls {
		names := rule.Names
		rule.Names = nil
		for _, name := range names {
			rules[name] = append(rules[name], rule)
		}
	}
	return rules
}

// TestCallsWithoutProfile checks the filter of a container that has none, and that a bundle can be
// used again.
func TestCallsWithoutProfile(t *testing.T) {
	s := container(pid)
	socket := func() (string, error) { return "/run/socket", nil }
	for range 2 {
		if errs := Apply(s, Set{Sysinfo: true}, nil, socket); errs != nil {
			t.Fatal(errs)
		}
		got := s.Linux.Seccomp
		notified := got.Syscalls[len(got.Syscalls)-1]
		if got.DefaultAction != specs.ActAllow || len(got.Architectures) == 0 || len(got.Syscalls) != 1 ||
			notified.Action != specs.ActNotify || !reflect.DeepEqual(notified.Names, []string{"sysinfo"}) {
			t.Errorf("got %+v", got)
		}
	}
	if errs := Apply(s, Set{}, nil, socket); errs != nil || s.Linux.Seccomp.ListenerPath != "" ||
		s.Linux.Seccomp.Syscalls[0].Action != specs.ActAllow {
		t.Errorf("without views: got %v, %+v", errs, s.Linux.Seccomp)
	}
}
