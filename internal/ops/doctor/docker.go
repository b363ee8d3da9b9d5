package doctor

import (
	"bytes"
	"cmp"
	"context"
)

var docker = engineKind{
	name: "docker", program: "dockerd",
	config: "/etc/docker/daemon.json", unit: "docker.service",
	impact: ", which stops its containers unless it has live-restore",
}

// dockerConfig is the checked part of daemon.json (dockerd(8)).
type dockerConfig struct {
	DefaultRuntime string `json:"default-runtime"`
	Runtimes       map[string]struct {
		Path        string   `json:"path"`
		RuntimeArgs []string `json:"runtimeArgs"`
		Options     struct{ BinaryName string }
	} `json:"runtimes"`
	Plugins     []string `json:"authorization-plugins"`
	Hosts       []string `json:"hosts"`
	UsernsRemap string   `json:"userns-remap"`
}

func parseDocker(text []byte) (c dockerConfig, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil // dockerd takes an empty file
	}
	return c, parseJSON(text, &c)
}

func checkDocker(ctx context.Context, w *World, r *Report) {
	e := &docker
	if !w.wants(r, e) {
		return
	}
	c, state := readConfig(w, r, e, e.config, parseDocker)
	if state == broken {
		return
	}
	w.checkAuthz(ctx, r, e, c.Plugins, `"authorization-plugins": ["authz-broker"]`)
	runtimes := make(map[string]engineRuntime)
	for name, runtime := range c.Runtimes {
		program := cmp.Or(runtime.Path, runtime.Options.BinaryName)
		runtimes[name] = engineRuntime{program: program, args: runtime.RuntimeArgs}
	}
	ours := w.checkRuntimes(r, e, runtimes)
	if !r.checkDefault(e, ours, c.DefaultRuntime, `put "default-runtime": %q into`) {
		r.warn("hook-missing", e.name, w.addSpec(e, state, ""), "no runtime of it calls the hook")
	}
}
