package doctor

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"palisade/internal/cli/version"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// TestStatus examines hosts, and compares all parts of their status.
func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files files
		edit  func(testing.TB, *World)
		want  Status
	}{
		{name: "a host without engines", files: files{"/usr/bin/userns-shift": "none"}, want: Status{
			Healthy: true, Containers: &Containers{}, Hooks: []Hook{},
			Lxcfs: []Lxcfs{{Mountpoints: []string{unitMountpoint}, State: probe.Healthy, PID: 70, Version: version.String()}},
		}},
		{
			name: "everything",
			files: files{
				"/usr/bin/authz-broker": "", "/var/lib/authz-broker/policy.json": goodPolicy,
				"/usr/bin/userns-shift": "", "/etc/docker/daemon.json": `{"authorization-plugins": ["authz-broker"],
					"runtimes": {"a": {"path": "/usr/bin/lxcfs-runc"}, "b": {"path": "/usr/bin/userns-shift-runc"}}}`,
				"/usr/bin/lxcfs-runc": "", "/usr/bin/userns-shift-runc": "",
				"/usr/bin/podman": "", "/usr/bin/crio": "", "/etc/crio/crio.conf": "[",
				"/usr/bin/containerd": "", "/etc/lxc/default.conf": "",
				"/usr/share/containers/oci/hooks.d/lxcfs.json": hookJSON,
			},
			edit: both(answering("/run/docker/plugins/authz-broker.sock"), both(
				probed(probe.Result{State: probe.Dead, Reason: "gone"}),
				listed(toolkit.List{Containers: []toolkit.Listed{
					{ID: "a", Alive: []string{"/proc/stat"}}, {ID: "b", Dead: []string{"/proc/stat"}},
					{ID: "c"}, {ID: "d", HostMounts: true}, {ID: "e", Error: "odd"},
				}}))),
			want: Status{
				Errors: 3, Warnings: 3,
				Lxcfs:      []Lxcfs{{Mountpoints: []string{unitMountpoint}, State: probe.Dead, Reason: "gone"}},
				Containers: &Containers{Running: 5, WithFiles: 1, DeadFiles: 1, WithoutFiles: 2, Unknown: 1},
				Hooks: []Hook{{"lxc", "none"}, {"podman", "all"}, {"crio", "broken"},
					{"docker", "some"}, {"containerd", "none"}},
				Authz: &Authz{Version: version.String(), Answers: []string{"docker"}, AskedBy: []string{"docker"}, Fronts: []Front{}},
				Shift: &Shift{Version: version.String(), CalledBy: []string{"docker"}},
			},
		},
		{
			name:  "nothing known",
			files: files{"/usr/bin/userns-shift": "none"},
			edit: func(_ testing.TB, w *World) {
				w.Probe = func(context.Context, string) (probe.Result, error) {
					return probe.Result{}, errors.New("x")
				}
				w.List = func(context.Context) (toolkit.List, error) { return toolkit.List{}, errors.New("x") }
			},
			want: Status{Warnings: 2, Lxcfs: []Lxcfs{}, Hooks: []Hook{}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.files)
			if tt.edit != nil {
				tt.edit(t, w)
			}
			r := Examine(t.Context(), w)
			if got := r.Status(); !reflect.DeepEqual(got, &tt.want) {
				t.Errorf("got %+v, want %+v; findings %q", got, tt.want, found(r))
			}
		})
	}
}
