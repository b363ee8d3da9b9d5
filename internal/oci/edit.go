package oci

import (
	"bytes"
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Edit calls edit with the parsed configuration, and stores the changes to annotations, namespaces,
// timeOffsets and seccomp. Other changes are lost. It reports whether there were changes.
func (c *Config) Edit(edit func(*specs.Spec)) (changed bool, err error) {
	before, err := editable(&c.Spec)
	if err != nil {
		return false, err
	}
	edit(&c.Spec)
	after, err := editable(&c.Spec)
	if err != nil {
		return false, err
	}
	linux, err := c.raw.child("linux")
	if err != nil {
		return false, err
	}
	changed = c.raw.replace(before, after, "annotations")
	if linux.replace(before, after, "namespaces", "timeOffsets", "seccomp") {
		changed = true
		c.raw["linux"], err = encode(linux)
	}
	return changed, err
}

// editable returns the fields that Edit stores, without those that are null.
func editable(spec *specs.Spec) (fields object, err error) {
	all := map[string]any{"annotations": spec.Annotations}
	if l := spec.Linux; l != nil {
		all["namespaces"], all["timeOffsets"], all["seccomp"] = l.Namespaces, l.TimeOffsets, l.Seccomp
	}
	fields = make(object)
	for name, value := range all {
		text, err := encode(value)
		if err != nil {
			return nil, err
		}
		if string(text) != "null" {
			fields[name] = json.RawMessage(text)
		}
	}
	return fields, nil
}

// replace sets the fields with these names that differ in before and after to those of after.
func (o object) replace(before, after object, names ...string) (changed bool) {
	for _, name := range names {
		if bytes.Equal(before[name], after[name]) {
			continue
		}
		changed = true
		if after[name] == nil {
			delete(o, name)
		} else {
			o[name] = after[name]
		}
	}
	return changed
}
