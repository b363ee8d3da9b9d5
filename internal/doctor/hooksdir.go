package doctor

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/wiring"
)

var (
	podman = engineKind{name: "podman", programs: []string{"podman"}, config: "/etc/containers/containers.conf"}
	crio   = engineKind{name: "crio", programs: []string{"crio"}, config: "/etc/crio/crio.conf", unit: "crio.service"}
)

// otherHooksDirs are folders in which people put hooks that engines do not read of themselves.
var otherHooksDirs = []string{"/etc/containers/oci/hooks.d", "/usr/libexec/oci/hooks.d", wiring.DefaultHooksDir}

// checkPodman looks at the folders of hooks that Podman reads (containers.conf(5)).
func checkPodman(_ context.Context, w *World, r *Report) {
	if !w.wants(r, &podman) {
		return
	}
	files := append([]string{"/usr/share/containers/containers.conf"}, w.fragments(podman.config, podman.config+".d", ".conf")...)
	w.checkHooksDirs(r, &podman, files, "engine")
}

// checkCrio looks at those that CRI-O reads (crio.conf(5)).
func checkCrio(_ context.Context, w *World, r *Report) {
	if w.wants(r, &crio) {
		w.checkHooksDirs(r, &crio, w.fragments(crio.config, crio.config+".d", ""), "crio", "runtime")
	}
}

// hooksDirs are the folders that files name in the table at keys, a later file in place of earlier ones.
func (w *World) hooksDirs(r *Report, e *engineKind, files []string, keys ...string) (folders []string, ok bool) {
	folders, ok = []string{wiring.DefaultHooksDir}, true
	for _, file := range files {
		state := w.config(r, e, file, func(text []byte) error {
			t, err := parseTOML(text)
			if value, set := t.table(keys...)["hooks_dir"]; err == nil && set {
				folders = appendFolders(folders, value)
			}
			return err
		})
		ok = ok && state != broken
	}
	return folders, ok
}

// appendFolders are the folders of a list in place of earlier ones, or, where it has {append=true}, behind them.
func appendFolders(before []string, value any) []string {
	values, _ := value.([]any)
	folders := []string{}
	for _, v := range values {
		switch v := v.(type) {
		case string:
			folders = append(folders, v)
		case map[string]any:
			if more, _ := v["append"].(bool); more {
				folders = append(slices.Clone(before), folders...)
			}
		}
	}
	return folders
}

// checkHooksDirs looks at the hooks of an engine's folders.
func (w *World) checkHooksDirs(r *Report, e *engineKind, configs []string, keys ...string) {
	folders, ok := w.hooksDirs(r, e, configs, keys...)
	if !ok {
		return
	}
	before := len(r.Findings)
	var ours string
	best := noHook
	for _, file := range w.hookFiles(folders) {
		if reach := w.checkHookFile(r, e, file); reach > best {
			ours, best = file, reach
		}
	}
	cure := do(`put "when": {"always": true} into %s`, ours)
	switch {
	case best == noHook:
		w.addNoHook(r, e, folders)
	case len(r.Findings) > before: // it is told
	case best == never:
		r.add(HookMissing, e.name, cure, "%s has the hook, and conditions that never hold", ours)
	case best == some:
		r.optional(e, cure, "only containers for which the conditions in %s hold have the hook", ours)
	default:
		r.fine(HookOK, e.name, "%s has the hook", ours)
	}
}

// hookFiles are the files of the folders; one takes the place of those with its name in earlier folders.
func (w *World) hookFiles(folders []string) (files []string) {
	byName := make(map[string]string)
	for _, folder := range folders {
		found, err := w.files(folder, ".json")
		if err != nil {
			continue // it need not be there
		}
		for _, file := range found {
			byName[base(file)] = file
		}
	}
	for _, file := range byName {
		files = append(files, file)
	}
	slices.Sort(files)
	return files
}

// checkHookFile looks at a hook, and tells for which containers it is called if it is lxcfs's.
func (w *World) checkHookFile(r *Report, e *engineKind, file string) reach {
	var f hookFile
	if w.config(r, e, file, func(text []byte) (err error) {
		f, err = parseHookFile(text)
		return err
	}) != good {
		return noHook
	}
	ours := isHook(&f.hook, lxcfsHooks)
	cure := do("install %s, or remove %s", f.hook.Path, file)
	if ours {
		cure = run("%s >%s", w.toolkit("hook-spec", e.name), quote(file))
	}
	if w.checkHook(r, e, file, &f.hook, cure) && ours && !slices.Contains(f.stages, "createRuntime") && !slices.Contains(f.stages, "prestart") {
		r.add(HookWrongStage, file, cure, "the hook is for the stages %s, not for createRuntime", list(f.stages))
	}
	if !ours {
		return noHook
	}
	return f.reach
}

// addNoHook adds that no folder that is read has the hook, and whether one has it that is not read.
func (w *World) addNoHook(r *Report, e *engineKind, folders []string) {
	if len(folders) == 0 {
		r.add(HookMissing, e.name, do("name %s in hooks_dir of %s%s", wiring.DefaultHooksDir, e.config, e.restartWords()), "it reads no folder of hooks")
		return
	}
	target := folders[len(folders)-1]
	for _, folder := range otherHooksDirs {
		if slices.Contains(folders, folder) {
			continue
		}
		for _, file := range w.hookFiles([]string{folder}) {
			text, err := w.read(file, maxConfig)
			if err != nil {
				continue
			}
			if f, err := parseHookFile(text); err == nil && isHook(&f.hook, lxcfsHooks) {
				r.add(HookWrongFolder, e.name, run("mkdir -p %[1]s && mv %[2]s %[1]s/", quote(target), quote(file)),
					"%s is not read: it reads %s", file, strings.Join(folders, ", "))
				return
			}
		}
	}
	r.add(HookMissing, e.name, run("mkdir -p %s && %s >%s", quote(target), w.toolkit("hook-spec", e.name), quote(filepath.Join(target, "lxcfs.json"))),
		"no hook of lxcfs is in %s", strings.Join(folders, ", "))
}
