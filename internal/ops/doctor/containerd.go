package doctor

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
)

var containerd = engineKind{
	name: "containerd", program: "containerd", config: "/etc/containerd/config.toml",
	unit: "containerd.service",
}

// criPlugins are the names of the CRI plug-in, in versions 3, 2 and 1 of the file.
var criPlugins = []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"}

const maxImports = 32

// containerdFile is the checked part of config.toml (containerd-config.toml(5)).
type containerdFile struct {
	Version  int64    `toml:"version"`
	Imports  []string `toml:"imports"`
	Disabled []string `toml:"disabled_plugins"`
	Plugins  map[string]struct {
		Disable    any `toml:"disable"` // a bool of NRI
		Containerd struct {
			DefaultRuntime string `toml:"default_runtime_name"`
			Runtimes       map[string]struct {
				Options struct {
					BinaryName    string
					SystemdCgroup *bool
				} `toml:"options"`
			} `toml:"runtimes"`
		} `toml:"containerd"`
	} `toml:"plugins"`
}

// containerdConfig is the checked part of config.toml with its imports.
type containerdConfig struct {
	// version is the version of the main file.
	version        int64
	defaultRuntime string
	runtimes       map[string]engineRuntime
	disabled       bool
	// nriDisabled is set if NRI is off, whatever the default is.
	nriDisabled bool
}

// add adds a file, whose values override earlier ones. From version 3 on, older names of the
// plug-in are ignored.
func (c *containerdConfig) add(f *containerdFile) {
	version := cmp.Or(f.Version, c.version)
	criPlugins := criPlugins
	if version >= 3 {
		criPlugins = criPlugins[:1]
	}
	c.version = cmp.Or(c.version, version)
	if off, ok := f.Plugins[nriPlugin].Disable.(bool); ok {
		c.nriDisabled = off
	}
	c.nriDisabled = c.nriDisabled || slices.Contains(f.Disabled, nriPlugin)
	for _, plugin := range criPlugins {
		c.disabled = c.disabled || slices.Contains(f.Disabled, plugin)
		cri := f.Plugins[plugin].Containerd
		c.defaultRuntime = cmp.Or(cri.DefaultRuntime, c.defaultRuntime)
		for name, r := range cri.Runtimes {
			runtime := c.runtimes[name] // options that the file lacks stay
			runtime.program = cmp.Or(r.Options.BinaryName, runtime.program)
			if r.Options.SystemdCgroup != nil {
				runtime.systemd = *r.Options.SystemdCgroup
			}
			c.runtimes[name] = runtime
		}
	}
}

func (w *World) readContainerd(r *Report) (c *containerdConfig, config state) {
	c = &containerdConfig{runtimes: make(map[string]engineRuntime)}
	read := func(file string) (containerdFile, state) {
		f, state := readConfig(w, r, &containerd, file, parseTOML[containerdFile])
		if state == good {
			c.add(&f)
		}
		return f, state
	}
	first, config := read(containerd.config)
	for _, file := range w.imports(first.Imports) {
		if _, state := read(file); state == broken {
			config = broken
		}
	}
	return c, config
}

func (w *World) imports(patterns []string) (files []string) {
	for _, pattern := range patterns {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(containerd.config), pattern)
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

func checkContainerd(_ context.Context, w *World, r *Report) {
	e := &containerd
	if !w.wants(r, e) {
		return
	}
	c, config := w.readContainerd(r)
	if config == broken {
		return
	}
	ours := w.checkRuntimes(r, e, c.runtimes)
	for _, name := range slices.Sorted(maps.Keys(c.runtimes)) {
		runtime := c.runtimes[name]
		if (slices.Contains(ours, name) || isShift(runtime.program, nil)) &&
			c.runtimes["runc"].systemd && !runtime.systemd {
			r.warn("hook-cgroup-driver", e.config,
				advice("put SystemdCgroup = true beside BinaryName of the runtime %q in %s%s",
					name, e.config, e.restartWords()),
				"runc has SystemdCgroup = true, but the runtime %q does not: "+
					"its pods are not in the kubelet's cgroups", name)
		}
	}
	if r.checkDefault(e, ours, c.defaultRuntime, "set default_runtime_name to %q in") {
		return
	}
	if w.servedByNRI() {
		r.fine("hook-ok", e.name, "palisade-nri mounts the files, by NRI")
		return
	}
	where := ""
	if c.version >= 3 {
		where = ", with " + criPlugins[0] + " in the place of " + criPlugins[1]
	}
	cure := w.addSpec(e, config, where)
	if !slices.Contains(w.Engines, e.name) && (c.disabled || w.has(&docker)) {
		r.info("hook-optional", e.name, cure,
			"no runtime for Kubernetes calls the hook, which is right if only Docker uses containerd")
		return
	}
	r.warn("hook-missing", e.name, cure, "no runtime for Kubernetes calls the hook")
}
