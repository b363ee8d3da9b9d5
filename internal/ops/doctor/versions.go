package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"palisade/internal/cli/version"
)

const (
	// dockerSocket is the socket of dockerd, which answers with its version.
	dockerSocket = "/run/docker.sock"
	// answerTime bounds the time for an answer.
	answerTime = 2 * time.Second
)

// checkVersions sets the versions of programs. It adds no findings.
func checkVersions(ctx context.Context, w *World, r *Report) {
	r.version("palisade", version.String())
	asked := make(map[string][]string)
	for _, name := range []string{"lxcfs-toolkit", "userns-shift", "authz-broker", "runc", "crun"} {
		asked[name] = []string{name}
	}
	for _, e := range []*engineKind{
		&lxcEngines[0], &isulads[0].engineKind, &podman, &crio, &docker, &containerd,
	} {
		if len(w.Engines) == 0 || slices.Contains(w.Engines, e.name) {
			asked[e.name] = e.programs
		}
	}
	var wait sync.WaitGroup
	var lock sync.Mutex
	for name, programs := range asked {
		wait.Go(func() {
			v := ""
			if name == "docker" { // the running one, if it answers
				limited, cancel := context.WithTimeout(ctx, answerTime)
				defer cancel()
				v, _ = w.DockerVersion(limited, w.path(dockerSocket))
			}
			if v == "" {
				v = w.versionOf(ctx, w.program(programs...))
			}
			lock.Lock()
			defer lock.Unlock()
			r.version(name, v)
		})
	}
	wait.Wait()
}

// versionOf returns the version of a program on disk, or "" if it is unknown or root must not run
// it.
func (w *World) versionOf(ctx context.Context, program string) string {
	if program == "" || w.checkProgram(program) != nil {
		return ""
	}
	v, _ := w.Version(ctx, program)
	return v
}
