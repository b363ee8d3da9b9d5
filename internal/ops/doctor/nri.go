package doctor

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"palisade/internal/inject/agentstatus"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
)

const (
	nriAgent = "palisade-nri"
	nriUnit  = nriAgent + ".service"
	// nriPlugin is the name of NRI in containerd's configuration.
	nriPlugin = "io.containerd.nri.v1.nri"
)

// agent returns the state of palisade-nri, nil if it has never run, and whether it runs.
func (w *World) agent() (s *agentstatus.Status, isRunning bool) {
	text, err := sys.ReadRegular(w.path(agentstatus.Path), maxConfig)
	if err != nil {
		return nil, false
	}
	s = new(agentstatus.Status)
	if json.Unmarshal(text, s) != nil {
		return nil, false
	}
	comm, err := w.read("/proc/"+strconv.Itoa(s.PID)+"/comm", maxConfig)
	return s, err == nil && strings.TrimSpace(string(comm)) == nriAgent
}

// nriRules returns a function that reports whether palisade-nri gives a container of its runtimes
// no files. Without a connected agent it is false for all.
func (w *World) nriRules() func(*toolkit.Listed) bool {
	if !w.servedByNRI() {
		return func(*toolkit.Listed) bool { return false }
	}
	s, _ := w.agent()
	return func(c *toolkit.Listed) bool {
		isOfRuntime := c.Engine == containerd.name || c.Engine == "cri-o"
		return isOfRuntime && !slices.Contains(s.Served, c.ID)
	}
}

// servedByNRI reports whether palisade-nri serves the containers of a runtime, which then needs no
// hook.
func (w *World) servedByNRI() bool {
	s, isRunning := w.agent()
	return isRunning && slices.Contains(slices.Collect(maps.Values(s.Runtimes)), true)
}

// checkNRI checks the node agent of Kubernetes, if the host has one.
func checkNRI(ctx context.Context, w *World, r *Report) {
	s, isRunning := w.agent()
	switch {
	case s == nil && !w.isEnabled(nriUnit):
		return
	case !isRunning:
		cure := advice("see the log of its pod, and start it again")
		if w.hasUnit(nriUnit) {
			cure = command("systemctl restart %[1]s || journalctl --unit %[1]s --lines 20", nriAgent)
		}
		r.warn("nri-agent-gone", nriAgent, cure,
			"it does not run: containers that start get no files of lxcfs")
		return
	}
	r.version(nriAgent, s.Version)
	before := len(r.Findings)
	if s.Failure != "" {
		r.error("nri-install-failed", nriAgent,
			advice("fix what is named; the agent tries again"), "lxcfs is not installed: %s", s.Failure)
	}
	for _, socket := range slices.Sorted(maps.Keys(s.Runtimes)) {
		switch {
		case s.Runtimes[socket]:
		case w.exists(socket):
			r.warn("nri-not-connected", socket,
				advice("see the logs of palisade-nri and of the container runtime, and restart that"),
				"palisade-nri is not registered with the container runtime")
		default:
			w.addNRIOff(r, socket)
		}
	}
	lxcfs := w.lxcfs(ctx)[0].Server
	if lxcfs != nil && lxcfs.Version != s.Version {
		r.info("nri-versions-differ", nriAgent,
			advice("install palisade-nri and lxcfs of the same version"),
			"palisade-nri is of version %s, lxcfs of version %s", s.Version, lxcfs.Version)
	}
	if len(r.Findings) == before {
		r.fine("nri-ok", nriAgent, "it is connected to the container runtime, version %s", s.Version)
	}
}

// crioNRI is the part of CRI-O's configuration for NRI.
type crioNRI struct {
	Crio struct {
		NRI struct {
			Enable *bool `toml:"enable_nri"`
		} `toml:"nri"`
	} `toml:"crio"`
}

// addNRIOff adds that no runtime has made the socket, and why.
func (w *World) addNRIOff(r *Report, socket string) {
	scratch := newReport() // broken files are findings of the engines' checks
	if c, _ := w.readContainerd(scratch); c.nriDisabled {
		r.warn("nri-off", socket,
			advice("remove it, or set disable = false in [plugins.%q]%s", nriPlugin,
				containerd.restartWords()),
			"%s disables NRI", containerd.config)
		return
	}
	isOn := true
	for _, file := range w.fragments(crio.config, "") {
		c, state := readConfig(w, scratch, &crio, file, parseTOML[crioNRI])
		if state == good && c.Crio.NRI.Enable != nil {
			isOn = *c.Crio.NRI.Enable
		}
	}
	if !isOn {
		r.warn("nri-off", socket,
			advice("set enable_nri = true in [crio.nri]%s", crio.restartWords()),
			"%s disables NRI", crio.config)
		return
	}
	r.warn("nri-off", socket,
		advice("start the container runtime; enable NRI, which containerd 1.7 and CRI-O before 1.30 "+
			"have off by default; or give palisade-nri the --socket that it has"),
		"no container runtime has made this socket")
}
