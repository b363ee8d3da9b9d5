package doctor

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
)

var containerd = engineKind{
	name: "containerd", programs: []string{"containerd"}, config: "/etc/containerd/config.toml",
	unit: "containerd.service",
}

// criPlugins are the names of the CRI plug-in, in versions 3, 2 and 1 of the file.
var criPlugins = []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"}

// maxImports bounds the number of imported files.
const maxImports = 32

// containerdConfig is the checked part of config.toml and its imports (containerd-config.toml(5)).
type containerdConfig struct {
	// version is the version of the main file.
	version        int64
	defaultRuntime string
	runtimes       map[string]criRuntime
	disabled       bool
}

// criRuntime is a runtime for Kubernetes.
type criRuntime struct {
	// program replaces runc, "" for runc.
	program string
	// systemd is set if systemd creates the cgroups, as with the kubelet's cgroupDriver systemd.
	systemd bool
}

// add adds a file, whose values override earlier ones. From version 3 on, older names of the
// plug-in are ignored.
func (c *containerdConfig) add(t table) {
	version, ok := t["version"].(int64)
	if !ok {
		version = c.version
	}
	criPlugins := criPlugins
	if version >= 3 {
		criPlugins = criPlugins[:1]
	}
	c.version = cmp.Or(c.version, version)
	for _, name := range t.texts("disabled_plugins") {
		c.disabled = c.disabled || slices.Contains(criPlugins, name)
	}
	for _, plugin := range criPlugins {
		cri := t.table("plugins", plugin, "containerd")
		if name := cri.text("default_runtime_name"); name != "" {
			c.defaultRuntime = name
		}
		runtimes := cri.table("runtimes")
		for name := range runtimes {
			options := runtimes.table(name, "options")
			runtime := c.runtimes[name] // options that the file lacks stay
			if program := options.text("BinaryName"); program != "" {
				runtime.program = program
			}
			if systemd, ok := options["SystemdCgroup"].(bool); ok {
				runtime.systemd = systemd
			}
			c.runtimes[name] = runtime
		}
	}
}

// readContainerd reads the file and its imports.
func (w *World) readContainerd(r *Report) (c *containerdConfig, state state) {
	c = &containerdConfig{runtimes: make(map[string]criRuntime)}
	e := &containerd
	var first table
	read := func(file string, t *table) func([]byte) error {
		return func(text []byte) (err error) {
			*t, err = parseTOML(text)
			return err
		}
	}
	if state = w.config(r, e, e.config, read(e.config, &first)); state != good {
		return c, state
	}
	c.add(first)
	for _, file := range w.imports(first) {
		var t table
		switch w.config(r, e, file, read(file, &t)) {
		case good:
			c.add(t)
		case broken:
			state = broken
		}
	}
	return c, state
}

// imports returns the files that a file imports.
func (w *World) imports(t table) (files []string) {
	for _, pattern := range t.texts("imports") {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dirOf(containerd.config), pattern)
		}
		found, err := filepath.Glob(w.path(pattern))
		if err != nil {
			continue // containerd says so
		}
		for _, file := range found {
			if below, err := filepath.Rel(w.Root, file); err == nil && len(files) < maxImports {
				files = append(files, "/"+below)
			}
		}
	}
	return files
}

// checkCRI looks at the runtimes, and returns the names of those that add the hook.
func (w *World) checkCRI(r *Report, c *containerdConfig) (ours []string) {
	e := &containerd
	for _, name := range slices.Sorted(maps.Keys(c.runtimes)) {
		runtime := c.runtimes[name]
		r.noteShift(e, base(runtime.program) == shiftRuntime)
		adds := w.addsHook(runtime.program, nil)
		if adds {
			ours = append(ours, name)
			w.checkRuntime(r, e, name, runtime.program)
		}
		if (adds || base(runtime.program) == shiftRuntime) && c.runtimes["runc"].systemd &&
			!runtime.systemd {
			r.add(
				HookCgroups,
				e.config,
				advice(
					"put SystemdCgroup = true beside BinaryName of the runtime %q in %s%s", name, e.config,
					e.restartWords(),
				),
				"runc has SystemdCgroup = true, and the runtime %q has not: "+
					"its pods are not in the kubelet's cgroups",
				name,
			)
		}
	}
	return ours
}

// renamed says by which name the plug-in's tables go into the file.
func (c *containerdConfig) renamed() string {
	if c.version < 3 {
		return ""
	}
	return ", with " + criPlugins[0] + " in the place of " + criPlugins[1]
}

// checkContainerd looks at the configuration of containerd.
func checkContainerd(_ context.Context, w *World, r *Report) {
	if !w.wants(r, &containerd) {
		return
	}
	e := &containerd
	c, state := w.readContainerd(r)
	if state == broken {
		return
	}
	ours := w.checkCRI(r, c)
	cure := advice(
		"add what `%s` prints to %s%s%s", w.toolkit("hook-spec", e.name), e.config, c.renamed(),
		e.restartWords(),
	)
	if state == absent {
		cure = command(
			"mkdir -p %s && %s >%s%s", dirOf(e.config), w.toolkit("hook-spec", e.name), e.config,
			e.restart(w),
		)
	}
	switch {
	case slices.Contains(ours, c.defaultRuntime):
		r.fine(HookOK, e.name, "the runtime %s is the default one", c.defaultRuntime)
	case len(ours) > 0:
		r.optional(
			e, advice("set default_runtime_name to %q in %s%s", ours[0], e.config, e.restartWords()),
			"only containers with the runtime %s have the hook", ours[0],
		)
	case !slices.Contains(w.Engines, e.name) && (c.disabled || w.has(&docker)):
		r.add(
			HookOptional, e.name, cure,
			"no runtime for Kubernetes calls the hook, which is right if only Docker uses containerd",
		)
	default:
		r.add(HookMissing, e.name, cure, "no runtime for Kubernetes calls the hook")
	}
}
