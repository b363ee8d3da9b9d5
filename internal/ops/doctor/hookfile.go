package doctor

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// reach is the set of containers for which a hook is called.
type reach int

const (
	noHook reach = iota // it is not lxcfs's
	never
	some
	all
)

// hookFile is a file in a hook directory (oci-hooks(5)), version 1.0.0 or 0.1.0.
type hookFile struct {
	hook   specs.Hook
	stages []string
	reach  reach
}

func parseHookFile(text []byte) (f hookFile, err error) {
	var file struct {
		Hook   json.RawMessage
		Stages []string
		When   conditions
		// The fields of version 0.1.0, which has no condition for all containers.
		Arguments, Stage, Cmds, Cmd, Annotations, Annotation []string
		HasBindMounts                                        *bool
	}
	if err := parseJSON(text, &file); err != nil {
		return f, err
	}
	f.stages = append(file.Stages, file.Stage...)
	if err := json.Unmarshal(file.Hook, &f.hook.Path); err == nil {
		f.hook.Args = append([]string{f.hook.Path}, file.Arguments...)
		old := conditions{
			Or: true, Commands: append(file.Cmds, file.Cmd...),
			HasBindMounts: file.HasBindMounts,
		}
		for _, pattern := range append(file.Annotations, file.Annotation...) {
			old.Annotations = map[string]string{"": pattern}
		}
		f.reach = old.reach()
		return f, nil
	}
	if len(file.Hook) == 0 {
		return f, errors.New("missing hook")
	}
	f.reach = file.When.reach()
	return f, json.Unmarshal(file.Hook, &f.hook)
}

// conditions select the containers for which a hook is called: all conditions must hold, or in
// version 0.1.0 one of them.
type conditions struct {
	Always        *bool
	Annotations   map[string]string
	Commands      []string
	HasBindMounts *bool
	Or            bool `json:"-"`
}

// reach returns the reach of the conditions. Without any, the hook is never called.
func (c *conditions) reach() reach {
	always := c.Always != nil && *c.Always
	others := len(c.Annotations) > 0 || len(c.Commands) > 0 || c.HasBindMounts != nil
	anyCommand := slices.ContainsFunc(
		c.Commands,
		func(pattern string) bool { return slices.Contains([]string{"", ".*", "^.*$"}, pattern) },
	)
	onlyCommand := len(c.Annotations) == 0 && c.HasBindMounts == nil
	switch {
	case c.Always != nil && !always, !others && !always:
		return never
	case always && !others, anyCommand && (c.Or || onlyCommand):
		return all
	}
	return some
}
