package main

import (
	"bytes"
	"strings"
	"testing"

	"palisade/internal/ops/doctor"
)

// TestPrintFindings prints the worst findings first, and passed checks only with --verbose.
func TestPrintFindings(t *testing.T) {
	report := &doctor.Report{
		Findings: []doctor.Finding{
			{
				ID: doctor.KernelOK, Level: doctor.OK, Subject: "Linux 6.1",
				Problem: "it has all that is used",
			},
			{
				ID: doctor.FuseControl, Level: doctor.Info, Subject: "/c", Problem: "it is not mounted",
				Remedy: "mount /c", Command: true,
			},
			{
				ID: doctor.HookMissing, Level: doctor.Warning, Subject: "docker",
				Problem: "it calls no hook", Remedy: "add one",
			},
			{
				ID: doctor.LxcfsDead, Level: doctor.Error, Subject: "/m", Problem: "it is dead",
				Remedy: "start it", Command: true,
			},
		},
		Versions: map[string]string{"runc": "1.1.5", "crun": "1.8"},
	}
	const errors = "errors:\n  /m: it is dead [lxcfs-dead]\n      # start it\n\n"
	const warnings = "warnings:\n  docker: it calls no hook [hook-missing]\n      add one\n\n"
	const infos = "to know:\n  /c: it is not mounted [fuse-control]\n      # mount /c\n\n"
	const fine = "fine:\n  Linux 6.1: it has all that is used [kernel-ok]\n\nversions:\n  crun 1.8\n  runc 1.1.5\n\n"
	const sum = "errors: 1, warnings: 1\n"
	for verbose, want := range map[bool]string{
		false: errors + warnings + infos + sum,
		true:  errors + warnings + infos + fine + sum,
	} {
		var b bytes.Buffer
		printFindings(&b, report, verbose)
		if b.String() != want {
			t.Errorf("verbose %v: got\n%s\nwant\n%s", verbose, b.String(), want)
		}
	}
}

// TestVersionIn parses the output of --version of several programs.
func TestVersionIn(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n": "",
		"lxcfs version v0.7-3-gabc\n": "v0.7-3-gabc",
		"5.0.3\n":                     "5.0.3",
		"runc version 1.1.5+ds1\ncommit: 1.1.5\n":                                  "1.1.5+ds1",
		"Docker version 20.10.24+dfsg1, build 5d6db84\n":                           "20.10.24+dfsg1",
		"Version 2.1.6, commit 0\n":                                                "2.1.6",
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1\n":    "1.6.20~ds1",
		"containerd github.com/containerd/containerd/v2 v2.1.0 0123456789abcdef\n": "v2.1.0",
		"crio version": "version",
	} {
		if got := versionIn(text); got != want {
			t.Errorf("in %q the version is %q, want %q", text, got, want)
		}
	}
}

// TestAskVersion runs programs that succeed, fail, or do not exist.
func TestAskVersion(t *testing.T) {
	got, err := askVersion(t.Context(), "/bin/true")
	if err != nil || len(got) > maxVersion || strings.Contains(got, "\n") {
		t.Errorf("got %q, %v", got, err)
	}
	for _, program := range []string{"/bin/false", "/no/such/program"} {
		if got, err := askVersion(t.Context(), program); err == nil {
			t.Errorf("%s has the version %q", program, got)
		}
	}
}

// TestDoctorMistakes tries wrong command lines. The error must name the wrong option or argument.
func TestDoctorMistakes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"now"}, `"now"`},
		{[]string{"--engine", "nspawn"}, `--engine "nspawn" is not one of ` +
			"containerd, crio, docker, incus, isulad, lxc, lxd, podman, proxmox"},
		{[]string{"--policy-file", "x"}, `--policy-file "x" is not an absolute path`},
	} {
		err := newProgram().Run(append([]string{"palisade", "doctor"}, tt.args...))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("doctor %q: %v, want %q", tt.args, err, tt.want)
		}
	}
}
