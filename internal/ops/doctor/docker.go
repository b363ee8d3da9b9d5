package doctor

import (
	"bytes"
	"context"
	"maps"
	"slices"
)

var docker = engineKind{
	name: "docker", programs: []string{"dockerd"},
	config: "/etc/docker/daemon.json", unit: "docker.service",
	impact: ", which stops its containers unless it has live-restore",
}

// dockerConfig is the checked part of daemon.json (dockerd(8)).
type dockerConfig struct {
	DefaultRuntime string `json:"default-runtime"`
	Runtimes       map[string]struct {
		Path        string   `json:"path"`
		RuntimeArgs []string `json:"runtimeArgs"`
		Options     struct{ BinaryName string }
	} `json:"runtimes"`
	Plugins     []string `json:"authorization-plugins"`
	UsernsRemap string   `json:"userns-remap"`
}

func parseDocker(text []byte) (c dockerConfig, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil // dockerd takes an empty file
	}
	return c, parseJSON(text, &c)
}

// checkDocker checks the configuration of dockerd.
func checkDocker(ctx context.Context, w *World, r *Report) {
	if !w.wants(r, &docker) {
		return
	}
	e := &docker
	var c dockerConfig
	state := w.config(r, e, e.config, func(text []byte) (err error) {
		c, err = parseDocker(text)
		return err
	})
	if state == broken {
		return
	}
	w.checkAuthz(ctx, r, e, c.Plugins, `"authorization-plugins": ["authz-broker"]`)
	var ours []string
	for _, name := range slices.Sorted(maps.Keys(c.Runtimes)) {
		runtime := c.Runtimes[name]
		program := runtime.Path
		if program == "" {
			program = runtime.Options.BinaryName
		}
		r.noteShift(e, isShift(program, runtime.RuntimeArgs))
		if w.addsHook(program, runtime.RuntimeArgs) {
			ours = append(ours, name)
			w.checkRuntime(r, e, name, program)
		}
	}
	switch {
	case slices.Contains(ours, c.DefaultRuntime):
		r.fine(HookOK, e.name, "the runtime %s is the default one", c.DefaultRuntime)
	case len(ours) > 0:
		r.optional(e, advice(`put "default-runtime": %q into %s%s`, ours[0], e.config, e.restartWords()),
			"only containers with docker run --runtime %s have the hook", ours[0])
	case state == absent:
		r.add(
			HookMissing,
			e.name,
			command(
				"mkdir -p %s && %s >%s%s", dirOf(e.config), w.toolkit("hook-spec", e.name), e.config,
				e.restart(w),
			),
			"no runtime of it calls the hook",
		)
	default:
		r.add(
			HookMissing,
			e.name,
			advice(
				"add what `%s` prints to %s%s", w.toolkit("hook-spec", e.name), e.config, e.restartWords(),
			),
			"no runtime in %s calls the hook",
			e.config,
		)
	}
}

// checkRuntime checks that the program of a runtime can be run.
func (w *World) checkRuntime(r *Report, e *engineKind, name, program string) {
	if base(program) == program {
		return // it is looked for in the engine's PATH
	}
	if err := w.checkProgram(program); err != nil {
		r.add(
			HookProgram,
			e.config,
			advice("install %s, or put what `%s` prints in its place in %s%s", program,
				w.toolkit("hook-spec", e.name), e.config, e.restartWords()),
			"%s starts no container by the runtime %s: %q: %v",
			e.name,
			name,
			program,
			err,
		)
	}
}
