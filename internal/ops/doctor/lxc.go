package doctor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/inject/toolkit"
)

// lxcEngines start containers with liblxc. The client of Incus, and programs that install LXD,
// exist on hosts without these engines.
var lxcEngines = []engineKind{
	{name: "lxc", program: "lxc-start", config: "/etc/lxc/default.conf"},
	{name: "incus", program: "incusd", config: "/var/lib/incus"},
	{name: "lxd", config: "/var/lib/lxd"},
	{name: "proxmox", program: "pct", config: "/etc/pve"},
}

const (
	// lxcConfigDir is the directory whose files these engines include in the configuration of each
	// container. Zabbly's packages of Incus use incusConfigDir instead.
	lxcConfigDir   = "/usr/share/lxc/config/common.conf.d"
	incusConfigDir = "/opt/incus/share/lxc/config/common.conf.d"
	// lxcPath contains a directory with a file config for each container of LXC and Proxmox.
	lxcPath = "/var/lib/lxc"
)

// checkLXC checks that containers of liblxc start with files of lxcfs.
func (w *World) checkLXC(ctx context.Context, r *Report, running []toolkit.Listed) {
	byDir := make(map[string][]string)
	for i := range lxcEngines {
		e := &lxcEngines[i]
		if e.name == "lxd" && w.exists("/var/snap/lxd") {
			continue // the snap contains an lxcfs and configuration files of its own
		}
		isOf := func(c toolkit.Listed) bool { return c.Engine == e.name }
		if len(w.Engines) == 0 && slices.ContainsFunc(running, isOf) {
			r.engines = append(r.engines, e.name)
		} else if !w.wants(r, e) {
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

// checkLXCDir checks the hooks that the files of the directory add to containers of the engines.
func (w *World) checkLXCDir(ctx context.Context, r *Report, dir string, engines []string) {
	names := strings.Join(engines, ", ")
	hooks := w.lxcfsHooksIn(dir)
	if len(hooks) == 0 {
		r.warn("hook-missing", names,
			advice("install the package palisade-lxc, then run `%s` for running containers",
				w.remountAll()),
			"containers start without files of lxcfs: no file in %s names a hook of lxcfs", dir)
		return
	}
	before := len(r.Findings)
	var sources []string
	for _, hook := range hooks {
		if err := w.checkProgram(hook); err != nil {
			r.error("hook-program", names, advice("install the package palisade-lxc"),
				"no container starts: a file in %s names the hook %s, which cannot be run: %v",
				dir, hook, err)
			continue
		}
		text, _ := w.read(hook, maxScript)
		isNamed := func(dir string) bool { return bytes.Contains(text, []byte(dir)) }
		i := slices.IndexFunc(lxcSources, isNamed)
		if i >= 0 && !slices.Contains(sources, lxcSources[i]) {
			sources = append(sources, lxcSources[i])
		}
	}
	for _, source := range sources {
		w.checkSource(ctx, r, names, source)
	}
	if slices.Contains(engines, "lxc") || slices.Contains(engines, "proxmox") {
		w.checkLXCConfigs(r, dir)
	}
	if len(r.Findings) == before {
		r.fine("hook-ok", names, "the files in %s name hooks of lxcfs", dir)
	}
}

// lxcSources are the directories from which mount hooks mount the files of lxcfs.
var lxcSources = []string{"/var/lib/incus-lxcfs", "/var/lib/lxcfs"}

// checkSource checks that an lxcfs is mounted on the directory from which a mount hook mounts
// files.
func (w *World) checkSource(ctx context.Context, r *Report, names, source string) {
	table, err := w.mountTable()
	if err != nil || source == w.Mountpoint { // checkCgroups, or checkLxcfs, says what is wrong
		return
	}
	if isLxcfs(table, source) {
		return
	}
	cure := advice("start lxcfs, then run `%s`", w.toolkit("bind", source))
	if w.lxcfs(ctx).isServing() {
		cure = command("%s", w.toolkit("bind", source))
	}
	r.warn("lxc-not-served", source, cure,
		"no lxcfs is mounted there, and the mount hook of %s mounts files from it", names)
}

// checkLXCConfigs finds containers whose configuration does not include a hook of lxcfs.
func (w *World) checkLXCConfigs(r *Report, dir string) {
	table, err := w.mountTable()
	if err != nil {
		return
	}
	before := len(r.Findings)
	for _, container := range w.files(lxcPath, "") {
		config := filepath.Join(container, "config")
		// The mount point of lxcfs is in this directory too, and is not accessed.
		if isLxcfs(table, container) || !w.exists(config) ||
			len(w.lxcfsHooksIn(config)) > 0 {
			continue
		}
		r.info("lxc-config-apart", config,
			advice("add the line lxc.include = %s/ to it, unless this is intended", dir),
			"the container starts without files of lxcfs: it does not include the files in %s", dir)
	}
	r.shortenOthers(before)
}

// lxcfsHooksIn returns the hooks of lxcfs that LXC runs when a container with this configuration
// file or directory starts.
func (w *World) lxcfsHooksIn(path string) []string {
	var c lxcConfig
	c.include(w, path, 0)
	return c.lxcfsHooks()
}

func (c *lxcConfig) lxcfsHooks() (programs []string) {
	for _, hook := range c.hooks {
		program, _, _ := strings.Cut(hook.value, " ")
		isOurs := strings.Contains(program, "lxcfs") || strings.HasPrefix(program, "/usr/share/palisade/")
		if isOurs && hook.key != "lxc.hook.post-stop" && !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
	}
	return programs
}

// lxcConfig contains the hooks of a container (lxc.container.conf(5)).
type lxcConfig struct {
	hooks []lxcHook
	files int
}

type lxcHook struct{ key, value string }

const maxIncludes = 10

// include parses a file, or the files of a directory that end in .conf.
func (c *lxcConfig) include(w *World, path string, depth int) {
	if c.files > maxFiles || depth > maxIncludes {
		return
	}
	paths := []string{path}
	if info, err := os.Stat(w.path(path)); err == nil && info.IsDir() {
		paths = w.files(path, ".conf")
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

// parse parses the text of a file. An empty value removes the hooks with the key, or all for
// lxc.hook.
func (c *lxcConfig) parse(w *World, text string, depth int) {
	for line := range strings.Lines(text) {
		key, value := parseLXC(line)
		switch {
		case key == "lxc.include" && filepath.IsAbs(value):
			c.include(w, value, depth+1)
		case key != "lxc.hook" && !strings.HasPrefix(key, "lxc.hook."):
		case value != "":
			c.hooks = append(c.hooks, lxcHook{key, value})
		default:
			isCleared := func(h lxcHook) bool { return key == "lxc.hook" || h.key == key }
			c.hooks = slices.DeleteFunc(c.hooks, isCleared)
		}
	}
}

// parseLXC returns the key and the value of a line, or "" for a comment.
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
