package remap

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
)

func TestVolumeModes(t *testing.T) {
	owner := idmap.Owner{UID: 5, GID: 6, Size: 7}
	c := &oci.Config{Spec: specs.Spec{Mounts: []specs.Mount{
		{Destination: "/proc", Type: "proc"},
		{Destination: "/a", Type: "bind"},
		{Destination: "/b/", Options: []string{"rbind", "ro"}},
		{Destination: "/engine", Type: "bind", Options: []string{"bind", "idmap"}},
		{Destination: "/runtime", Type: "bind", UIDMappings: []specs.LinuxIDMapping{{Size: 1}}},
	}}}
	for _, tt := range []struct {
		all         string
		annotations map[string]string
		want        string // kinds of the mounts
		err         string // part of the error
	}{
		{"leave", nil, "- - - - -", ""},
		{"idmap", nil, "- idmap idmap - -", ""},
		{"idmap", map[string]string{"palisade.volumes": "shift"}, "- shift shift - -", ""},
		{"shift", map[string]string{"palisade.volumes": "idmap", "palisade.volumes./b": "leave"},
			"- idmap - - -", ""},
		{"leave", map[string]string{"palisade.volumes.a": "idmap=5:6:7"}, "- idmap=5:6:7 - - -", ""},
		{"leave", map[string]string{"palisade.volumes./engine": "leave"}, "", "no bind mount at /engine"},
		{"leave", map[string]string{"palisade.volumes./a": ""}, "", `"" is none of idmap, `},
		{"leave", map[string]string{"palisade.volumes": "idmap="}, "", `owner "" has 1 fields`},
	} {
		all, err := ParseVolumeMode(tt.all)
		if err != nil {
			t.Fatal(err)
		}
		c.Spec.Annotations = tt.annotations
		modes, err := (&Remapper{Volumes: all}).volumeModes(c)
		if err != nil || tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v: %v, want %q", tt.annotations, err, tt.err)
			}
			continue
		}
		var got []string
		for _, m := range modes {
			switch {
			case m.kind == "":
				got = append(got, "-")
			case m.owner == nil:
				got = append(got, m.kind)
			case *m.owner == owner:
				got = append(got, m.kind+"=5:6:7")
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s, %v: %s, want %s", tt.all, tt.annotations, s, tt.want)
		}
	}
}
