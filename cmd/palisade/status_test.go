package main

import (
	"io"
	"strings"
	"testing"

	"palisade/internal/cli/options"
	"palisade/internal/inject/probe"
	"palisade/internal/ops/doctor"
)

// TestPrintStatus prints a healthy host, and one about which little is known.
func TestPrintStatus(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status doctor.Status
		want   string
	}{
		{"healthy", doctor.Status{
			Healthy: true,
			Lxcfs: []doctor.Lxcfs{
				{Mountpoints: []string{"/m", "/n"}, State: probe.Healthy, PID: 7, Version: "v1", Uptime: 60.2},
				{Mountpoints: []string{"/c"}, State: probe.Healthy, IsOff: true},
			},
			Containers: &doctor.Containers{Running: 3, WithFiles: 1, Unknown: 2},
			Hooks: []doctor.Hook{{Engine: "docker", Containers: "all"},
				{Engine: "podman", Containers: "some"}},
			Authz: &doctor.Authz{Version: "v2", Enabled: true, AskedBy: []string{"docker"},
				Fronts: []doctor.Front{{Engine: "podman", Enabled: true, Answers: true}, {Engine: "docker"}}},
			Shift: &doctor.Shift{CalledBy: []string{"isulad"}},
		}, `lxcfs         /m, /n: healthy, version v1, up 1m0s, process 7
lxcfs         /c: healthy, the C version or another lxcfs without a status, switched off by SIGUSR2
containers    running: 3, with files of lxcfs: 1, without: 0, with dead files: 0, unknown: 2
hook          docker: called for all containers
hook          podman: called for containers that ask for it
authz-broker  version v2, enabled, asked by: docker, answers: none
front         podman: enabled, answers
front         docker: not enabled, does not answer
userns-shift  version unknown, called by: isulad
problems      errors: 0, warnings: 0
`},
		{"sick", doctor.Status{
			Errors: 2, Warnings: 1,
			Lxcfs: []doctor.Lxcfs{{Mountpoints: []string{"/\x1b"}, State: probe.Dead, Reason: "its server is gone"}},
			Hooks: []doctor.Hook{{Engine: "lxc", Containers: "none"},
				{Engine: "crio", Containers: "broken"}},
		}, `lxcfs       /\x1b: dead: its server is gone
containers  unknown
hook        lxc: not called
hook        crio: the configuration has an error
problems    errors: 2, warnings: 1 (palisade doctor lists them with their remedies)
`},
		{"unknown", doctor.Status{}, `lxcfs       unknown
containers  unknown
problems    errors: 0, warnings: 0 (palisade doctor lists them with their remedies)
`},
	} {
		var b strings.Builder
		err := new(options.Global).Print(&b, nil, func(w io.Writer) { printStatus(w, &tt.status) })
		if err != nil || b.String() != tt.want {
			t.Errorf("%s: got\n%s%v, want\n%s", tt.name, b.String(), err, tt.want)
		}
	}
}
