package doctor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/mounts"
	"palisade/internal/toolkit"
)

// lxcEngines start containers by liblxc. The client of Incus, and programs that install LXD, are on
// hosts without them.
var lxcEngines = []engineKind{
	{name: "lxc", programs: []string{"lxc-start"}, config: "/etc/lxc/default.conf"},
	{name: "incus", programs: []string{"incusd"}, config: "/var/lib/incus"},
	{name: "lxd", config: "/var/lib/lxd"},
	{name: "proxmox", programs: []string{"pct"}, config: "/etc/pve"},
}

const (
	// lxcConfigDir is the directory whose files all of them include in the configuration of each
	// container. Zabbly's packages of Incus have incusConfigDir instead, if they are there.
	lxcConfigDir   = "/usr/share/lxc/config/common.conf.d"
	incusConfigDir = "/opt/incus/share/lxc/config/common.conf.d"
	// lxcPath has a directory with a file config for each container of LXC and Proxmox.
	lxcPath = "/var/lib/lxc"
)

// checkLXC looks whether containers that are started by liblxc get files of lxcfs.
func (w *World) checkLXC(ctx context.Context, r *Report, running []toolkit.Listed) {
	byDir := make(map[string][]string)
	for i := range lxcEngines {
		e := &lxcEngines[i]
		if e.name == "lxd" && w.exists("/var/snap/lxd") {
			continue // a snap has an lxcfs, and files of configuration, of its own
		}
		isOf := func(c toolkit.Listed) bool { return c.Engine == e.name }
		runs := len(w.Engines) == 0 && slices.ContainsFunc(running, isOf)
		if !runs && !w.wants(r, e) {
			continue
		}
		dir := lxcConfigDir
		if e.name == "incus" && w.exists(incusConfigDir) {
			dir = incusConfigDir
		}
		byDir[dir] = append(byDir[dir], e.name)
	}
	for _, dir := range []string{lxcConfigDir, incusConfigDir} {
		if engines := byDir[dir]; len(engines) > 0 {
			w.checkLXCDir(ctx, r, dir, engines)
		}
	}
}

// checkLXCDir looks at the hooks that the files of the directory add to containers of the engines.
func (w *World) checkLXCDir(ctx context.Context, r *Report, dir string, engines []string) {
	names := strings.Join(engines, ", ")
	hooks := w.lxcfsHooksIn(dir)
	if len(hooks) == 0 {
		r.add(HookMissing, names,
			do("install the package palisade-lxc, then call `%s` for containers that run",
				w.toolkit("remount", "--all")),
			"containers start without files of lxcfs: no file of %s names a hook of it", dir)
		return
	}
	before := len(r.Findings)
	var sources []string
	for _, hook := range hooks {
		if err := w.checkProgram(hook); err != nil {
			r.add(HookProgram, names, do("install the package palisade-lxc"),
				"no container starts: a file of %s names the hook %s, which cannot be run: %v",
				dir, hook, err)
		} else if source := w.sourceOf(hook); source != "" && !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	for _, source := range sources {
		w.checkSource(ctx, r, names, source)
	}
	if slices.Contains(engines, "lxc") || slices.Contains(engines, "proxmox") {
		w.checkLXCConfigs(r, dir)
	}
	if len(r.Findings) == before {
		r.fine(HookOK, names, "the files of %s name hooks of lxcfs", dir)
	}
}

// lxcSources are the directories from which mount hooks take the files of lxcfs.
var lxcSources = []string{"/var/lib/incus-lxcfs", "/var/lib/lxcfs"}

// sourceOf returns the one of these that the script of a hook names, "" for none.
func (w *World) sourceOf(hook string) string {
	text, err := w.read(hook, maxScript)
	if err != nil {
		return ""
	}
	for _, dir := range lxcSources {
		if bytes.Contains(text, []byte(dir)) {
			return dir
		}
	}
	return ""
}

// checkSource looks whether an lxcfs is mounted where a mount hook takes files from.
func (w *World) checkSource(ctx context.Context, r *Report, names, source string) {
	table, err := w.mountTable()
	if err != nil || source == w.Mountpoint { // checkCgroups, or checkLxcfs, says what is wrong
		return
	}
	if top := table.Top(source); top != nil && top.FSType == mounts.FSType {
		return
	}
	bind := w.toolkit("bind", source)
	cure := do("start lxcfs, then call `%s`", bind)
	if w.lxcfs(ctx).isServing() {
		cure = run("%s", bind)
	}
	r.add(LXCNotServed, source, cure,
		"no lxcfs is mounted there, from where the mount hook of %s takes the files", names)
}

// checkLXCConfigs looks for containers whose own configuration does not lead to a hook of lxcfs.
func (w *World) checkLXCConfigs(r *Report, dir string) {
	names, err := w.files(lxcPath, "")
	if err != nil {
		return
	}
	table, err := w.mountTable()
	if err != nil {
		return
	}
	before := len(r.Findings)
	for _, container := range names {
		config := filepath.Join(container, "config")
		// The mount point of lxcfs is in this directory too: nothing is looked up in that.
		if top := table.Top(container); top != nil && top.FSType == mounts.FSType {
			continue
		}
		if !w.exists(config) || len(w.lxcfsHooksIn(config)) > 0 {
			continue
		}
		r.add(LXCApart, config,
			do("add the line lxc.include = %s/ to it, unless this is meant", dir),
			"the container starts without files of lxcfs: nothing here leads to those of %s", dir)
	}
	r.shorten(before)
}

// lxcfsHooksIn returns the programs of lxcfs that LXC runs when a container starts that has this file
// or directory of configuration.
func (w *World) lxcfsHooksIn(path string) []string {
	var c lxcConfig
	c.include(w, path, 0)
	return c.lxcfsHooks()
}

func (c *lxcConfig) lxcfsHooks() (programs []string) {
	for _, hook := range c.hooks {
		program, _, _ := strings.Cut(hook.value, " ")
		if hook.key == "lxc.hook.post-stop" || !isLxcfsHook(program) || slices.Contains(programs, program) {
			continue
		}
		programs = append(programs, program)
	}
	return programs
}

func isLxcfsHook(program string) bool {
	return strings.Contains(program, "lxcfs") || strings.HasPrefix(program, "/usr/share/palisade/")
}

// lxcConfig has the hooks of a container (lxc.container.conf(5)).
type lxcConfig struct {
	hooks []lxcHook
	files int
}

type lxcHook struct{ key, value string }

// maxIncludes bounds how deep files include others.
const maxIncludes = 10

// include reads a file, or those of a directory that end in .conf.
func (c *lxcConfig) include(w *World, path string, depth int) {
	if c.files > maxFiles || depth > maxIncludes {
		return
	}
	paths := []string{path}
	if info, err := os.Stat(w.path(path)); err == nil && info.IsDir() {
		if paths, err = w.files(path, ".conf"); err != nil {
			return
		}
	}
	for _, file := range paths {
		if c.files++; c.files > maxFiles {
			return
		}
		if text, err := w.read(file, maxConfig); err == nil {
			c.parse(w, string(text), depth)
		}
	}
}

// parse adds what a file says.
func (c *lxcConfig) parse(w *World, text string, depth int) {
	for line := range strings.Lines(text) {
		switch key, value := parseLXC(line); {
		case key != "lxc.include":
			c.set(key, value)
		case filepath.IsAbs(value):
			c.include(w, value, depth+1)
		}
	}
}

// set adds a hook. Without a value it takes away those of its kind, or all.
func (c *lxcConfig) set(key, value string) {
	switch {
	case key != "lxc.hook" && !strings.HasPrefix(key, "lxc.hook."):
	case value != "":
		c.hooks = append(c.hooks, lxcHook{key, value})
	default:
		isCleared := func(h lxcHook) bool { return key == "lxc.hook" || h.key == key }
		c.hooks = slices.DeleteFunc(c.hooks, isCleared)
	}
}

// parseLXC returns the key and the value of a line, "" for a comment.
func parseLXC(line string) (key, value string) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return "", ""
	}
	key, value, _ = strings.Cut(line, "=")
	value = strings.TrimSpace(value)
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return strings.TrimSpace(key), value
}
