package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"

	"palisade/internal/oci/wiring"
)

// isulads are iSulad and lcrd, its older name.
var isulads = []engineKind{
	{
		name: "isulad", program: "isulad", config: "/etc/isulad/daemon.json", unit: "isulad.service",
	},
	{name: "isulad", program: "lcrd", config: "/etc/lcrd/daemon.json", unit: "lcrd.service"},
}

// isuladOptions is the file with the options that isulad.service gives isulad.
const isuladOptions = "/etc/sysconfig/iSulad"

// isuladDefault is the hookspec that iSulad reads unless its configuration names another.
const isuladDefault = "/etc/default/isulad/hooks/default.json"

// checkIsulad checks the configuration of iSulad.
func checkIsulad(ctx context.Context, w *World, r *Report) {
	there := false
	for i := range isulads {
		if e := &isulads[i]; w.has(e) && w.wants(r, e) {
			w.checkIsuladConfig(ctx, r, e)
			there = true
		}
	}
	if !there {
		w.wants(r, &isulads[0]) // it may be missed
	}
}

func (w *World) checkIsuladConfig(ctx context.Context, r *Report, e *engineKind) {
	c, config := readConfig(w, r, e, e.config, parseIsulad)
	w.addIsuladOptions(&c)
	graph := "/var/lib/" + e.program
	if filepath.IsAbs(c.Graph) {
		graph = c.Graph
	}
	w.checkIsuladDirs(r, graph)
	if config == broken {
		return
	}
	if len(c.Twice) > 0 {
		r.warn("config-key-twice", e.config, advice("remove the others%s", e.restartWords()),
			"%s uses the first of keys that occur twice: %s", e.name, list(c.Twice))
	}
	w.checkIsuladAccess(ctx, r, e, &c)
	sample := filepath.Join(graph, "hooks/hookspec.json")
	file := cmp.Or(c.HookSpec, isuladDefault)
	state, ours := w.checkHookSpec(r, e, file)
	switch {
	case state == broken: // reported already
	case state == absent && c.HookSpec != "":
		r.error("config-broken", e.config, command("%s", w.writeSpec(e, file)),
			"isulad cannot use it: the file of hook-spec, %s, does not exist", file)
	case ours:
		r.fine("hook-ok", e.name, "%s calls the hook for all containers", file)
	case state == absent:
		w.checkSample(r, e, sample, config)
	default:
		w.addHookMissing(r, e, file)
	}
}

// parseIsulad parses the configuration of iSulad. Errors contain the line and column.
func parseIsulad(text []byte) (wiring.Isulad, error) {
	if err := parseJSON(text, new(json.RawMessage)); err != nil {
		return wiring.Isulad{}, err
	}
	return wiring.ParseIsulad(text)
}

// addHookMissing adds that a hookspec file lacks the hook, unless a problem with the file is
// reported already.
func (w *World) addHookMissing(r *Report, e *engineKind, file string) {
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Subject == file }) {
		return
	}
	r.warn("hook-missing", e.name, advice("add what `%s` prints to %s", w.spec(e), file),
		"%s does not have the hook", file)
}

// checkSample checks the file that the packages install for isula run --hook-spec.
func (w *World) checkSample(r *Report, e *engineKind, sample string, config state) {
	state, ours := w.checkHookSpec(r, e, sample)
	setting := `"hook-spec": "` + sample + `"`
	cure := advice("put %s into %s%s", setting, e.config, e.restartWords())
	if config == absent {
		cure = command("mkdir -p %s && echo %s >%s%s",
			filepath.Dir(e.config), quote("{"+setting+"}"), e.config, e.restart(w))
	}
	switch {
	case state == broken: // reported already
	case ours:
		r.optional(e, cure, "only containers with isula run --hook-spec %s have the hook", sample)
	case state == good:
		w.addHookMissing(r, e, sample)
	case config == absent:
		cure.text = w.writeSpec(e, sample) + " && " + cure.text
		r.warn("hook-missing", e.name, cure, "it calls no hook")
	default:
		cure.text = "write what `" + w.spec(e) + "` prints to " + sample + "; " + cure.text
		r.warn("hook-missing", e.name, cure, "it calls no hook")
	}
}
