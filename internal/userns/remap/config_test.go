package remap

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
)

func pairOf(t *testing.T, text string) idmap.Pair {
	t.Helper()
	r, err := idmap.ParseRemap(text)
	if err != nil {
		t.Fatal(err)
	}
	return r.Pair()
}

func config(t *testing.T, text string) *oci.Config {
	t.Helper()
	c, err := oci.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAdaptMount(t *testing.T) {
	const ownNet, hostNet, otherNet = `{"linux":{"namespaces":[{"type":"network"}]}}`, `{}`,
		`{"linux":{"namespaces":[{"type":"network","path":"/n"}]}}`
	for _, tt := range []struct {
		name, config string
		mount        specs.Mount
		want         specs.Mount
		reason       string
	}{
		{"devpts, mapped", ownNet, specs.Mount{Type: "devpts", Options: []string{"gid=9", "mode=620"}},
			specs.Mount{Type: "devpts", Options: []string{"gid=9", "mode=620"}}, ""},
		{"devpts, not mapped", ownNet,
			specs.Mount{Type: "devpts", Options: []string{"newinstance", "gid=10", "mode=620"}},
			specs.Mount{Type: "devpts", Options: []string{"newinstance", "mode=620"}},
			"gid=10 is not mapped"},
		{"tmpfs of a user", ownNet, specs.Mount{Type: "tmpfs", Options: []string{"uid=1000", "gid=0"}},
			specs.Mount{Type: "tmpfs", Options: []string{"gid=0"}}, "uid=1000 is not mapped"},
		{"invalid ids", ownNet,
			specs.Mount{Type: "tmpfs", Options: []string{"uid=-1", "gid=x", "uid", "gid=99999999999"}},
			specs.Mount{Type: "tmpfs", Options: []string{"uid=-1", "gid=x", "uid", "gid=99999999999"}}, ""},
		{"a bind", ownNet, specs.Mount{Type: "bind", Options: []string{"gid=1000"}},
			specs.Mount{Type: "bind", Options: []string{"gid=1000"}}, ""},
		{"sysfs", ownNet, specs.Mount{Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			specs.Mount{Type: "sysfs", Source: "sysfs", Options: []string{"ro"}}, ""},
		{"sysfs of the host's network", hostNet,
			specs.Mount{Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			specs.Mount{Type: "none", Source: "/sys", Options: []string{"rbind", "ro"}},
			"not the container's own"},
		{"sysfs of another network", otherNet, specs.Mount{Type: "sysfs", Source: "sysfs"},
			specs.Mount{Type: "none", Source: "/sys", Options: []string{"rbind"}},
			"not the container's own"},
	} {
		before := slices.Clone(tt.mount.Options)
		got, reason := newMappedIDs(pairOf(t, "1000:1000:10")).adaptMount(tt.mount, config(t, tt.config))
		if got.Type != tt.want.Type || got.Source != tt.want.Source ||
			!slices.Equal(got.Options, tt.want.Options) ||
			(reason == "") != (tt.reason == "") || !strings.Contains(reason, tt.reason) {
			t.Errorf("%s: %+v %q, want %+v %q", tt.name, got, reason, tt.want, tt.reason)
		}
		if !slices.Equal(tt.mount.Options, before) {
			t.Errorf("%s: the mount itself has changed", tt.name)
		}
	}
}

func TestRequestedMaps(t *testing.T) {
	const own = `"linux":{"uidMappings":[{"hostID":1000,"size":10}],` +
		`"gidMappings":[{"hostID":1000,"size":10}]}`
	for _, tt := range []struct{ config, remap, want, err string }{
		{`{}`, "", "", ""},
		{`{}`, "1000:1000:10", "1000:1000:10", ""},
		{`{"annotations":{"palisade.user-remap":"2000:2000:20"}}`, "1000:1000:10", "2000:2000:20", ""},
		{`{"annotations":{"palisade.user-remap":""}}`, "1000:1000:10", "1000:1000:10", ""},
		{`{` + own + `}`, "", "1000:1000:10", ""},
		{`{` + own + `}`, "1000:1000:10", "1000:1000:10", ""},
		{`{` + own + `}`, "0:1000:10", "1000:1000:10", ""},
		{`{` + own + `}`, "1000:1000:11", "",
			"--user-remap requests 1000:1000:11, but the container's own user namespace is 1000:1000:10"},
		{`{"linux":{"uidMappings":[{"size":4294967295}],"gidMappings":[{"size":4294967295}]}}`, "", "",
			""},
		{`{"linux":{"uidMappings":[{"hostID":5,"size":1}]}}`, "", "",
			"the container's own user namespace: gids: id map has 0 extents"},
		{`{}`, "1000", "", `--user-remap: user remap "1000" has 1 fields`},
		{`{"annotations":{"palisade.user-remap":"1:2:0"}}`, "", "",
			`annotation palisade.user-remap: user remap "1:2:0": id offset "0"`},
		{`{}`, "1000:0:10", "", ""},
	} {
		r := &Remapper{Remap: tt.remap, Log: slog.New(slog.DiscardHandler)}
		got, err := r.requestedMaps(config(t, tt.config), nil)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s, %q: %v, want %q", tt.config, tt.remap, err, tt.err)
			}
			continue
		}
		text := got.String()
		if err != nil || got.IsZero() != (tt.want == "") || tt.want != "" && text != tt.want {
			t.Errorf("%s, %q: %s %v, want %q", tt.config, tt.remap, text, err, tt.want)
		}
	}
}

func TestAdaptPing(t *testing.T) {
	for value, want := range map[string]string{
		"0 2147483647": "0 9", "0 9": "0 9", "0 10": "0 9", "1 5": "1 5", "1 0": "1 0", "20 30": "20 30",
		"x": "x", "": "", "0": "0",
	} {
		c := config(t, `{"linux":{"sysctl":{"net.ipv4.ping_group_range":"`+value+`"}}}`)
		if err := newMappedIDs(pairOf(t, "1000:1000:10")).adaptPing(c); err != nil {
			t.Fatal(err)
		}
		if got := c.Spec.Linux.Sysctl[pingGroups]; got != want {
			t.Errorf("%q has become %q, want %q", value, got, want)
		}
	}
}

func TestGuessStage(t *testing.T) {
	for text, want := range map[string]Stage{
		`{"id":"x","pid":1,"root":"rootfs","bundle":"/b","status":"created"}`: Prestart,
		`{"process":{"args":["sh"]},"root":{"path":"/r"}}`:                    Precreate,
		`{}`: Prestart, `[]`: Prestart,
		`{"id":"x","process":{}}`: Prestart,
	} {
		if got := guessStage([]byte(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
