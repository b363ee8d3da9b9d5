package doctor

import (
	"maps"
	"path/filepath"
	"slices"
)

type engineRuntime struct {
	program string
	args    []string
	// systemd is set if systemd creates the cgroups, as with the kubelet's cgroupDriver systemd.
	systemd bool
}

// checkRuntimes checks that the programs that add the hook can be run, and returns the names of
// these runtimes. runtimes maps names to runtimes.
func (w *World) checkRuntimes(
	r *Report, e *engineKind, runtimes map[string]engineRuntime,
) (ours []string) {
	for _, name := range slices.Sorted(maps.Keys(runtimes)) {
		runtime := runtimes[name]
		r.noteShift(e, isShift(runtime.program, runtime.args))
		if !w.addsHook(runtime.program, runtime.args) {
			continue
		}
		ours = append(ours, name)
		if filepath.Base(runtime.program) == runtime.program {
			continue // the engine finds it in its PATH
		}
		if err := w.checkProgram(runtime.program); err != nil {
			r.error("hook-program", e.config,
				advice("install %s, or put what `%s` prints in its place in %s%s",
					runtime.program, w.spec(e), e.config, e.restartWords()),
				"%s starts no container by the runtime %s: %q: %v",
				e.name, name, runtime.program, err)
		}
	}
	return ours
}

// checkDefault checks that the default runtime is one of those that add the hook. It returns false
// if there are none. set begins the advice, with %q for the name of the runtime.
func (r *Report) checkDefault(e *engineKind, ours []string, name, set string) bool {
	switch {
	case slices.Contains(ours, name):
		r.fine("hook-ok", e.name, "the runtime %s is the default one", name)
	case len(ours) > 0:
		r.optional(e, advice(set+" %s%s", ours[0], e.config, e.restartWords()),
			"only containers with the runtime %s have the hook", ours[0])
	}
	return len(ours) > 0
}

// addSpec returns the remedy for a configuration without the hook. where is part of the advice.
func (w *World) addSpec(e *engineKind, config state, where string) remedy {
	if config == absent {
		return command("%s%s", w.writeSpec(e, e.config), e.restart(w))
	}
	return advice("add what `%s` prints to %s%s%s", w.spec(e), e.config, where, e.restartWords())
}
