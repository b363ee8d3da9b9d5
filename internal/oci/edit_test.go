package oci

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestEdit changes fields of a configuration; what is unknown stays.
func TestEdit(t *testing.T) {
	add := func(s *specs.Spec) {
		s.Annotations = map[string]string{"a": "<"}
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: -1}}
		s.Hostname = "not stored"
	}
	const text = `{"future":1,"hostname":"x","linux":{"future":2,"namespaces":[{"future":3,"type":"pid"}]}}`
	const added = `{"annotations":{"a":"<"},"future":1,"hostname":"x",` +
		`"linux":{"future":2,"namespaces":[{"future":3,"type":"pid"}],"timeOffsets":{"boottime":{"secs":-1}}}}`
	remove := func(s *specs.Spec) {
		s.Annotations, s.Linux.TimeOffsets = nil, nil
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace})
	}
	const removed = `{"future":1,"hostname":"x",` +
		`"linux":{"future":2,"namespaces":[{"type":"pid"},{"type":"ipc"}]}}`
	for _, tt := range []struct {
		name, text, want string
		edit             func(*specs.Spec)
	}{
		{"add", text, added, add},
		{"again", added, added, add},
		{"remove", added, removed, remove},
		{"nothing", text, text, func(*specs.Spec) {}},
		{"without linux", `{}`, `{}`, func(*specs.Spec) {}},
	} {
		a := Addition{Edit: tt.edit}
		got, err := a.merge([]byte(tt.text))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v\nwant %s", tt.name, got, err, tt.want)
		}
	}
}
