package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/linux/sys"
)

// ReadHooks reads a hookspec file: the "hooks" object of a configuration. iSulad's --hook-spec
// takes such a file, but supports only prestart, poststart and poststop. As hooks run as root, the
// checks are iSulad's: the file is regular, and a hook's path is absolute and leads to a program
// that only root can write.
func ReadHooks(file string) (specs.Hooks, error) {
	var hooks specs.Hooks
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return hooks, err
	}
	if hooks, err = ParseHooks(text); err != nil {
		return hooks, fmt.Errorf("parse %s: %w", file, err)
	}
	for _, s := range stages(&hooks) {
		for _, h := range *s.hooks {
			switch {
			case !filepath.IsAbs(h.Path):
				err = fmt.Errorf("path %q is not absolute", h.Path)
			case h.Timeout != nil && *h.Timeout < 1: // runtime-spec: greater than zero
				err = fmt.Errorf("timeout %d is not positive", *h.Timeout)
			default:
				err = CheckProgram(h.Path, 0)
			}
			if err != nil {
				return hooks, fmt.Errorf("%s: a %s hook: %w", file, s.name, err)
			}
		}
	}
	return hooks, nil
}

// ParseHooks parses the content of a hookspec file.
func ParseHooks(text []byte) (hooks specs.Hooks, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&hooks); err != nil {
		return hooks, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return hooks, errors.New("text follows the hooks")
	}
	return hooks, nil
}

// stage is a list of hooks with its key in the configuration (runtime-spec, config.md,
// "POSIX-platform Hooks").
type stage struct {
	name  string
	hooks *[]specs.Hook
}

func stages(h *specs.Hooks) []stage {
	return []stage{
		//lint:ignore SA1019 deprecated, but iSulad supports no other
		{"prestart", &h.Prestart},
		{"createRuntime", &h.CreateRuntime},
		{"createContainer", &h.CreateContainer},
		{"startContainer", &h.StartContainer},
		{"poststart", &h.Poststart},
		{"poststop", &h.Poststop},
	}
}

// CheckProgram returns an error unless path is a program that only its owner can write, and the
// owner's uid is owner, which is 0 except in tests.
func CheckProgram(path string, owner uint32) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("path %q is not a program", path)
	case ok && stat.Uid != owner || info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("path %q is writable by users other than root", path)
	}
	return nil
}

// Addition holds what to add to a bundle's configuration: hooks, annotations and other changes.
type Addition struct {
	// Hooks run before those of the configuration.
	Hooks specs.Hooks
	// Annotations do not replace those of the configuration.
	Annotations map[string]string
	// Edit, unless nil, is called last, by Config.Edit.
	Edit func(*specs.Spec)
}

// AddTo adds what is missing to a config.json. All other fields stay.
func (a *Addition) AddTo(file string) error {
	text, err := sys.ReadRegular(file, maxFile)
	if err != nil {
		return err
	}
	changed, err := a.merge(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", file, err)
	}
	if bytes.Equal(changed, text) {
		return nil
	}
	return replaceFile(file, changed)
}

// object is a JSON object whose unknown fields are kept.
type object map[string]json.RawMessage

func parseObject(text []byte) (o object, err error) {
	if err = json.Unmarshal(text, &o); err == nil && o == nil {
		err = errors.New("want a JSON object")
	}
	return o, err
}

// merge returns the configuration with the addition, or text itself if nothing is missing.
func (a *Addition) merge(text []byte) ([]byte, error) {
	config, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	changedHooks, err := a.mergeHooks(config)
	if err != nil {
		return nil, fmt.Errorf("hooks: %w", err)
	}
	changedAnnotations, err := a.mergeAnnotations(config)
	if err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	changed := changedHooks || changedAnnotations
	if a.Edit != nil {
		changedFields, err := a.edit(config)
		if err != nil {
			return nil, err
		}
		changed = changed || changedFields
	}
	if !changed {
		return text, nil
	}
	return encode(config)
}

// edit calls a.Edit for the configuration.
func (a *Addition) edit(config object) (changed bool, err error) {
	text, err := encode(config)
	if err != nil {
		return false, err
	}
	c := Config{raw: config}
	if err := json.Unmarshal(text, &c.Spec); err != nil {
		return false, err
	}
	return c.Edit(a.Edit)
}

func (a *Addition) mergeHooks(config object) (changed bool, err error) {
	hooks, err := config.child("hooks")
	if err != nil {
		return false, err
	}
	for _, s := range stages(&a.Hooks) {
		if len(*s.hooks) == 0 {
			continue
		}
		var own []specs.Hook
		var texts []json.RawMessage // own, with the fields that are unknown here
		err := hooks.get(s.name, &own)
		if err == nil {
			err = hooks.get(s.name, &texts)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.name, err)
		}
		var all []any
		for _, h := range *s.hooks {
			isSame := func(o specs.Hook) bool { return o.Path == h.Path && slices.Equal(o.Args, h.Args) }
			if !slices.ContainsFunc(own, isSame) {
				all = append(all, h)
				changed = true
			}
		}
		for _, text := range texts {
			all = append(all, text)
		}
		if hooks[s.name], err = encode(all); err != nil {
			return false, err
		}
	}
	if changed {
		config["hooks"], err = encode(hooks)
	}
	return changed, err
}

func (a *Addition) mergeAnnotations(config object) (changed bool, err error) {
	annotations, err := config.child("annotations")
	if err != nil {
		return false, err
	}
	for key, value := range a.Annotations {
		if annotations[key] == nil {
			if annotations[key], err = encode(value); err != nil {
				return false, err
			}
			changed = true
		}
	}
	if changed {
		config["annotations"], err = encode(annotations)
	}
	return changed, err
}

// get parses the field name of o, if there is one.
func (o object) get(name string, value any) error {
	if text, ok := o[name]; ok {
		return json.Unmarshal(text, value)
	}
	return nil
}

// child returns the object in the field name of o, an empty one if it is absent or null.
func (o object) child(name string) (object, error) {
	var c object
	err := o.get(name, &c)
	if c == nil {
		c = make(object)
	}
	return c, err
}

// encode returns JSON as engines write it, with <, > and & unescaped.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
