package doctor

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
)

// lxcfsHooks are the names of lxcfs-toolkit as a hook, shiftHooks those of userns-shift.
var (
	lxcfsHooks = []string{"lxcfs-toolkit", "lxcfs-hook", "lxcfs-tools"}
	shiftHooks = []string{"userns-shift"}
)

// isHook reports whether a hook is a program with one of the names.
func isHook(h *specs.Hook, names []string) bool {
	return slices.Contains(names, filepath.Base(h.Path)) ||
		len(h.Args) > 0 && slices.Contains(names, filepath.Base(h.Args[0]))
}

// isRuntime reports whether a runtime of an engine, given its program and arguments, is the wrapper
// that adds the hook.
func isRuntime(program string, args []string) bool {
	if slices.Contains(lxcfsHooks, filepath.Base(program)) && slices.Contains(args, "runtime") {
		return true
	}
	return slices.ContainsFunc(append([]string{program}, args...), func(word string) bool {
		return filepath.Base(word) == "lxcfs-runc" // another wrapper may call it
	})
}

// isShift reports whether a runtime of an engine is the wrapper of userns-shift.
func isShift(program string, args []string) bool {
	return filepath.Base(program) == "userns-shift-runc" ||
		slices.Contains(shiftHooks, filepath.Base(program)) && slices.Contains(args, "runtime")
}

// maxScript bounds a script that is read, in bytes.
const maxScript = 64 << 10

// addsHook reports whether a runtime of an engine adds the hook, directly or in a script that calls
// the wrapper.
func (w *World) addsHook(program string, args []string) bool {
	if isRuntime(program, args) {
		return true
	}
	if filepath.Base(program) == program {
		program = w.program(program)
	}
	return slices.ContainsFunc(append([]string{program}, args...), func(file string) bool {
		if w.checkProgram(file) != nil { // others than root may be able to write it
			return false
		}
		text, err := w.read(file, maxScript)
		return err == nil && bytes.HasPrefix(text, []byte("#!")) && callsRuntime(text)
	})
}

// callsRuntime reports whether a line of a shell script contains the words of a call of the
// wrapper. It does not evaluate the script.
func callsRuntime(script []byte) bool {
	for line := range bytes.Lines(script) {
		words := strings.FieldsFunc(
			string(line), func(r rune) bool { return strings.ContainsRune(" \t\n\"';&|()", r) },
		)
		if end := slices.IndexFunc(words, func(word string) bool { return word[0] == '#' }); end >= 0 {
			words = words[:end]
		}
		toolkit := false
		for _, word := range words {
			if filepath.Base(word) == "lxcfs-runc" || toolkit && word == "runtime" {
				return true
			}
			toolkit = toolkit || slices.Contains(lxcfsHooks, filepath.Base(word))
		}
	}
	return false
}

// noteShift notes that an engine calls userns-shift.
func (r *Report) noteShift(e *engineKind, calls bool) {
	if calls && !slices.Contains(r.callShift, e.name) {
		r.callShift = append(r.callShift, e.name)
	}
}

// checkHook checks that a hook can be run. If not, containers do not start, or with Podman start
// with the host's files.
func (w *World) checkHook(r *Report, e *engineKind, file string, h *specs.Hook, cure remedy) bool {
	err := w.checkProgram(h.Path)
	if err != nil {
		r.error("hook-program", file, cure, "%s cannot run the hook %q: %v", e.name, h.Path, err)
	}
	return err == nil
}

// checkHookSpec checks a file for --hook-spec of iSulad. It returns whether the file contains the
// hook of lxcfs without problems.
func (w *World) checkHookSpec(r *Report, e *engineKind, file string) (_ state, ours bool) {
	hooks, state := readConfig(w, r, e, file, func(text []byte) (hooks specs.Hooks, err error) {
		if err = parseJSON(text, new(json.RawMessage)); err != nil {
			return hooks, err
		}
		return oci.ParseHooks(text)
	})
	if state != good {
		return state, false
	}
	//lint:ignore SA1019 deprecated, but the only one that iSulad knows
	prestart := hooks.Prestart
	stages := []struct {
		name  string
		hooks []specs.Hook
	}{
		{"prestart", prestart}, {"createRuntime", hooks.CreateRuntime},
		{"createContainer", hooks.CreateContainer}, {"startContainer", hooks.StartContainer},
		{"poststart", hooks.Poststart}, {"poststop", hooks.Poststop},
	}
	isOurs := func(h specs.Hook) bool { return isHook(&h, lxcfsHooks) }
	isShiftHook := func(h specs.Hook) bool { return isHook(&h, shiftHooks) }
	write := command("%s >%s", w.spec(e), quote(file))
	for _, stage := range stages {
		ours = ours || slices.ContainsFunc(stage.hooks, isOurs)
		if slices.ContainsFunc(stage.hooks, func(h specs.Hook) bool { return !isOurs(h) }) {
			write = advice("put what `%s` prints in the place of that hook in %s", w.spec(e), file)
		}
	}
	before := len(r.Findings)
	for _, stage := range stages {
		for _, h := range stage.hooks {
			r.noteShift(e, isShiftHook(h))
			switch {
			case isOurs(h) && stage.name != "prestart":
				r.warn("hook-wrong-stage", file, write,
					"%s calls the hook at the stage prestart, not at %s", e.name, stage.name)
			case isOurs(h):
				w.checkHook(r, e, file, &h, write)
			case slices.Contains([]string{"prestart", "poststart", "poststop"}, stage.name): // iSulad's
				w.checkHook(r, e, file, &h, advice("install %s, or remove it from %s", h.Path, file))
			}
		}
	}
	lxcfs := slices.IndexFunc(prestart, isOurs)
	if lxcfs >= 0 && slices.IndexFunc(prestart, isShiftHook) > lxcfs {
		r.warn("hook-order", file,
			advice("put the hook of userns-shift before that of lxcfs-toolkit in %s", file),
			"userns-shift is called after lxcfs-toolkit, whose mounts hide files from it")
	}
	return good, ours && len(r.Findings) == before
}
