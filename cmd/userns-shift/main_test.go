package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"palisade/internal/cli/cmdline"
	"palisade/internal/userns/shift"
)

// run runs the program and returns what it prints and its exit code.
func run(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	err := newProgram(&out, &errs).Run(append([]string{program}, args...))
	code = cmdline.Report(program, err, &errs)
	return out.String(), errs.String(), code
}

// TestHookSpecFiles compares the shipped files with the output of hook-spec.
func TestHookSpecFiles(t *testing.T) {
	for file, args := range map[string][]string{
		"hookspec.json": {"--lxcfs", "/usr/bin/lxcfs-toolkit", "isulad"},
		"podman.json":   {"podman"},
		"crio.json":     {"crio"},
		"daemon.json":   {"docker"},
		"config.toml":   {"containerd"},
	} {
		want, err := os.ReadFile("../../hooks/userns/" + file)
		if err != nil {
			t.Error(err)
			continue
		}
		if stdout, stderr, code := run(append([]string{"hook-spec"}, args...)...); code != 0 ||
			stdout != string(want) {
			t.Errorf("hooks/userns/%s is\n%s\nhook-spec %q prints\n%s%s", file, want, args, stdout, stderr)
		}
	}
	// NRI's hook injector reads the same files as CRI-O.
	crio, _, _ := run("hook-spec", "crio")
	if nri, _, code := run("hook-spec", "nri"); code != 0 || nri != crio {
		t.Errorf("nri: %s, crio: %s", nri, crio)
	}
	if stdout, _, code := run("hook-spec", "--user-remap", "1000:1000:65535", "docker"); code != 0 ||
		!strings.Contains(stdout, `"1000:1000:65535"`) {
		t.Errorf("docker with a map: %s", stdout)
	}
}

// TestUsageErrors checks that errors in command lines are reported in one line.
func TestUsageErrors(t *testing.T) {
	root := t.TempDir()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "COMMAND is missing"},
		{[]string{"fly"}, `command "fly" is unknown`},
		{[]string{"shift"}, "ROOT is missing"},
		{[]string{"shift", root}, "the maps are missing"},
		{[]string{"shift", root, "x"}, `argument "x" is one too many`},
		{[]string{"shift", "--fly", root},
			"unknown option --fly (userns-shift shift --help lists the options)"},
		{[]string{"shift", root, "--", "--jobs"}, `argument "--jobs" is one too many`},
		{[]string{"shift", "--user-remap", "0x10:1:1", root}, `host uid "0x10" is no decimal number`},
		{[]string{"shift", "--user-remap", "1:1:1", "--pid", "1", root},
			"only one of --user-remap, --uidmap with --gidmap, --bundle and --pid"},
		{[]string{"shift", "--uidmap", "0:1:1", root}, "--uidmap and --gidmap belong together"},
		{[]string{"shift", "--uidmap", "0:1", "--gidmap", "0:1:1", root},
			`--uidmap: id map "0:1" has 2 fields`},
		{[]string{"shift", "--user-remap", "1:1:1", "--jobs", "0", root},
			"--jobs 0 is not between 1 and 256"},
		{[]string{"shift", "--user-remap", "1:1:1", "--unmapped", "squash=x", root},
			`--unmapped "squash=x": "x" is no id`},
		{[]string{"shift", "--user-remap", "1:1:1", "--unmapped", "lose", root},
			`--unmapped "lose" is none of fail, keep, squash=ID`},
		{[]string{"shift", "--user-remap", "1:1:1", "--immutable", "melt", root},
			`--immutable "melt" is none of fail, skip, clear`},
		{[]string{"shift", "--user-remap", "1:1:1", "--hardlinks", "cut", root},
			`--hardlinks "cut" is none of fail, ignore`},
		{[]string{"shift", "--user-remap", "1:1:1", "--caps", "v4", root},
			`--caps "v4" is none of v3, v2, drop`},
		{[]string{"shift", "--user-remap", "1:1:1", "--progress", "loud", root},
			`--progress "loud" is none of auto, bar, json, none`},
		{[]string{"shift", "--user-remap", "1:1:1", "--lock-timeout", "-1", root},
			"--lock-timeout -1 is not between 0 and 86400 seconds"},
		{[]string{"shift", "--user-remap", "1:1:1", "--lock-timeout", "NaN", root},
			"--lock-timeout NaN is not between"},
		{[]string{"shift", "--user-remap", "1:1:1", "--state-dir", "here", root},
			`--state-dir "here" is not an absolute path`},
		{[]string{"check", "--user-remap", "1:1:1", "--engine", "lxd", root},
			`--engine "lxd" is not isulad`},
		{[]string{"hook", "x"}, `argument "x" is one too many`},
		{[]string{"hook", "--stage", "late"},
			`--stage "late" is none of auto, precreate, prestart, createRuntime, poststop`},
		{[]string{"hook", "--deadline", "0"}, "--deadline 0 is not between 0 and 86400 seconds"},
		{[]string{"hook", "--mode", "fly"}, `--mode "fly" is none of auto, shift, idmap, check`},
		{[]string{"runtime", "--runtime", "/no/such", "--", "state", "x"}, `--runtime "/no/such"`},
		{[]string{"runtime", "--runtime", "/no/such", "state", "--jobs", "x"}, `--runtime "/no/such"`},
		{[]string{"hook-spec", "lxd"},
			`engine "lxd" is not one of containerd, crio, docker, isulad, nri, podman, runc`},
		{[]string{"hook-spec", "--path", "x", "docker"}, `--path "x" is not an absolute path`},
		// the first of two errors
		{[]string{"hook-spec", "--lxcfs", "y", "--path", "x", "isulad"},
			`--path "x" is not an absolute path`},
		{[]string{"hook-spec", "--user-remap", "x", "docker"}, `user remap "x" has 1 fields`},
	} {
		stdout, stderr, code := run(tt.args...)
		if code != cmdline.ExitUsage || !strings.Contains(stderr, tt.want) ||
			strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%q: exit code %d, %q, %q; want 2 and %q", tt.args, code, stdout, stderr, tt.want)
		}
	}
	for _, args := range [][]string{
		{"shift", "--user-remap", "0:100000:65535", root},
		{"shift", "--user-remap", "100000:0:65535", root},
		{"shift", root, "--user-remap", "100000:0:65535", "--jobs", "2"},
		{"shift", "--jobs=2", root, "--user-remap=100000:0:65535"},
		{"shift", "--user-remap", "100000:0:65535", "--", root},
	} {
		stdout, stderr, code := run(args...)
		if code != 0 || !strings.Contains(stdout, "has no effect") || stderr != "" {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestExpandName(t *testing.T) {
	for _, tt := range []struct {
		args, want []string
	}{
		{[]string{"/usr/bin/userns-shift", "shift"}, []string{"/usr/bin/userns-shift", "shift"}},
		{[]string{"/usr/bin/userns-shift-runc", "--root", "/x", "state", "y"},
			[]string{"/usr/bin/userns-shift-runc", "runtime", "--runtime", "runc", "--", "--root", "/x",
				"state", "y"}},
		{[]string{"userns-shift-crun"}, []string{"userns-shift-crun", "runtime", "--runtime", "crun",
			"--"}},
	} {
		if got := expandName(tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestProgress(t *testing.T) {
	for how, want := range map[string]string{"json": `{"pass":"check","done":3,"total":0}` + "\n",
		"none": "", "auto": "", "bar": "check"} {
		var text bytes.Buffer
		report, end, err := progressTo(&text, how)
		if err != nil {
			t.Fatal(err)
		}
		if report != nil {
			report(shift.Progress{Pass: "check", Done: 3})
			if how == "bar" {
				report(shift.Progress{Pass: "shift", Done: 3, Total: 6})
				report(shift.Progress{Pass: "shift", Done: 6, Total: 6})
			}
		}
		end()
		if got := text.String(); got != want &&
			!(how == "bar" && strings.Contains(got, "check") && strings.Contains(got, "shift")) {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
	}
}
