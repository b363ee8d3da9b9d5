package doctor

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/oci/wiring"
)

var (
	podman = engineKind{
		name: "podman", program: "podman", config: "/etc/containers/containers.conf",
	}
	crio = engineKind{
		name: "crio", program: "crio", config: "/etc/crio/crio.conf",
		unit: "crio.service",
	}
)

// otherHooksDirs are directories in which hooks are often put, but that engines do not read by
// default.
var otherHooksDirs = []string{
	"/etc/containers/oci/hooks.d", "/usr/libexec/oci/hooks.d", wiring.DefaultHooksDir,
}

func checkPodman(_ context.Context, w *World, r *Report) {
	if w.wants(r, &podman) {
		w.checkHooksDirs(r, &podman, append([]string{"/usr/share/containers/containers.conf"},
			w.fragments(podman.config, ".conf")...))
	}
}

func checkCrio(_ context.Context, w *World, r *Report) {
	if w.wants(r, &crio) {
		w.checkHooksDirs(r, &crio, w.fragments(crio.config, ""))
	}
}

// fragments returns the file and those of its directory, which are read after it: those of
// containers.conf.d for containers.conf.
func (w *World) fragments(file, suffix string) []string {
	return append([]string{file}, w.files(file+".d", suffix)...)
}

// hooksTable is the checked part of these tables: each value is a path or {append=true}.
type hooksTable struct {
	HooksDir []any `toml:"hooks_dir"`
}

// hooksConfig has the directories of Podman in Engine, those of CRI-O in Runtime.
type hooksConfig struct {
	Engine hooksTable `toml:"engine"`
	Crio   struct {
		Runtime hooksTable `toml:"runtime"`
	} `toml:"crio"`
}

// hooksDirs returns the directories that the files name. A later file replaces those of earlier
// ones.
func (w *World) hooksDirs(r *Report, e *engineKind, files []string) (dirs []string, ok bool) {
	dirs, ok = []string{wiring.DefaultHooksDir}, true
	for _, file := range files {
		c, state := readConfig(w, r, e, file, parseTOML[hooksConfig])
		ok = ok && state != broken
		for _, table := range []hooksTable{c.Engine, c.Crio.Runtime} {
			if state == good && table.HooksDir != nil {
				dirs = appendDirs(dirs, table.HooksDir)
			}
		}
	}
	return dirs, ok
}

// appendDirs returns the directories of a list, after the earlier ones if it contains
// {append=true}.
func appendDirs(before []string, values []any) []string {
	dirs := []string{}
	for _, v := range values {
		switch v := v.(type) {
		case string:
			dirs = append(dirs, v)
		case map[string]any:
			if more, _ := v["append"].(bool); more {
				dirs = append(slices.Clone(before), dirs...)
			}
		}
	}
	return dirs
}

func (w *World) checkHooksDirs(r *Report, e *engineKind, configs []string) {
	dirs, ok := w.hooksDirs(r, e, configs)
	if !ok {
		return
	}
	before := len(r.Findings)
	var ours string
	best := noHook
	for _, file := range w.hookFiles(dirs...) {
		if reach := w.checkHookFile(r, e, file); reach > best {
			ours, best = file, reach
		}
	}
	cure := advice(`put "when": {"always": true} into %s`, ours)
	switch {
	case best == noHook:
		w.addNoHook(r, e, dirs)
	case len(r.Findings) > before: // reported already
	case best == never:
		r.warn("hook-missing", e.name, cure, "%s has the hook, and conditions that never hold", ours)
	case best == some:
		r.optional(e, cure, "only containers for which the conditions in %s hold have the hook", ours)
	default:
		r.fine("hook-ok", e.name, "%s has the hook", ours)
	}
}

// hookFiles returns the files of the directories. A file replaces those of the same name in earlier
// directories.
func (w *World) hookFiles(dirs ...string) []string {
	byName := make(map[string]string)
	for _, dir := range dirs {
		for _, file := range w.files(dir, ".json") {
			byName[filepath.Base(file)] = file
		}
	}
	return slices.Sorted(maps.Values(byName))
}

// checkHookFile checks a hook file, and returns the reach of a hook of lxcfs.
func (w *World) checkHookFile(r *Report, e *engineKind, file string) reach {
	f, state := readConfig(w, r, e, file, parseHookFile)
	if state != good {
		return noHook
	}
	r.noteShift(e, isHook(&f.hook, shiftHooks))
	if !isHook(&f.hook, lxcfsHooks) {
		w.checkHook(r, e, file, &f.hook, advice("install %s, or remove %s", f.hook.Path, file))
		return noHook
	}
	cure := command("%s >%s", w.spec(e), quote(file))
	if w.checkHook(r, e, file, &f.hook, cure) && !slices.Contains(f.stages, "createRuntime") &&
		!slices.Contains(f.stages, "prestart") {
		r.warn("hook-wrong-stage", file, cure, "the hook is for the stages %s, not for createRuntime",
			list(f.stages))
	}
	return f.reach
}

// addNoHook adds that the directories do not contain the hook, or that it is in a directory that
// the engine does not read.
func (w *World) addNoHook(r *Report, e *engineKind, dirs []string) {
	if e == &crio && w.servedByNRI() {
		r.fine("hook-ok", e.name, "palisade-nri mounts the files, by NRI")
		return
	}
	if len(dirs) == 0 {
		r.warn("hook-missing", e.name,
			advice("name %s in hooks_dir of %s%s", wiring.DefaultHooksDir, e.config, e.restartWords()),
			"it reads no directory of hooks")
		return
	}
	target := dirs[len(dirs)-1]
	for _, dir := range otherHooksDirs {
		if slices.Contains(dirs, dir) {
			continue
		}
		for _, file := range w.hookFiles(dir) {
			text, err := w.read(file, maxConfig)
			if err != nil {
				continue
			}
			if f, err := parseHookFile(text); err == nil && isHook(&f.hook, lxcfsHooks) {
				r.warn("hook-wrong-folder", e.name,
					command("mkdir -p %[1]s && mv %[2]s %[1]s/", quote(target), quote(file)),
					"%s is not read: it reads %s", file, strings.Join(dirs, ", "))
				return
			}
		}
	}
	r.warn("hook-missing", e.name, command("%s", w.writeSpec(e, filepath.Join(target, "lxcfs.json"))),
		"no hook of lxcfs is in %s", strings.Join(dirs, ", "))
}
