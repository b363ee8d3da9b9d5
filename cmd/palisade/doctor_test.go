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
				ID: "kernel-ok", Level: doctor.OK, Subject: "Linux 6.1",
				Problem: "it has all that is used",
			},
			{
				ID: "fuse-control", Level: doctor.Info, Subject: "/c", Problem: "it is not mounted",
				Remedy: "mount /c", Command: true,
			},
			{
				ID: "hook-missing", Level: doctor.Warning, Subject: "docker",
				Problem: "it calls no hook", Remedy: "add one",
			},
			{
				ID: "lxcfs-dead", Level: doctor.Error, Subject: "/m", Problem: "it is dead",
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

// TestAsk runs programs that succeed, fail, or do not exist.
func TestAsk(t *testing.T) {
	got, err := ask(t.Context(), "/bin/true", "--version")
	if err != nil || len(got) > maxAnswer {
		t.Errorf("got %q, %v", got, err)
	}
	for _, program := range []string{"/bin/false", "/no/such/program"} {
		if got, err := ask(t.Context(), program, "--version"); err == nil {
			t.Errorf("%s prints %q", program, got)
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

// TestSortMistake tries an order that does not exist.
func TestSortMistake(t *testing.T) {
	err := newProgram().Run([]string{"palisade", "top", "--sort", "color"})
	if err == nil || !strings.Contains(err.Error(), `--sort "color" is none of cpu, memory, load, name`) {
		t.Errorf("got %v", err)
	}
}
