package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"palisade/internal/cli/version"
)

// asked are the programs whose version is reported. Some are engines.
var asked = []struct {
	name, engine string
	programs     []string
}{
	{"lxcfs-toolkit", "", []string{"lxcfs-toolkit"}},
	{"userns-shift", "", []string{"userns-shift"}},
	{"authz-broker", "", []string{"authz-broker"}},
	{"runc", "", []string{"runc"}},
	{"crun", "", []string{"crun"}},
	{"lxc", "lxc", lxcEngines[0].programs},
	{"isulad", "isulad", isulads[0].programs},
	{"podman", "podman", podman.programs},
	{"crio", "crio", crio.programs},
	{"docker", "docker", docker.programs},
	{"containerd", "containerd", containerd.programs},
}

const (
	// dockerSocket is the socket of dockerd, which answers with its version.
	dockerSocket = "/run/docker.sock"
	// answerTime bounds the time for an answer.
	answerTime = 2 * time.Second
)

// checkVersions sets the versions of programs. It adds no findings.
func checkVersions(ctx context.Context, w *World, r *Report) {
	r.version("palisade", version.String())
	found := make([]string, len(asked))
	var wait sync.WaitGroup
	for i, a := range asked {
		if a.engine != "" && len(w.Engines) > 0 && !slices.Contains(w.Engines, a.engine) {
			continue
		}
		wait.Go(func() {
			if a.name == "docker" { // the running one, if it answers
				limited, cancel := context.WithTimeout(ctx, answerTime)
				defer cancel()
				found[i], _ = w.DockerVersion(limited, w.path(dockerSocket))
			}
			if found[i] == "" {
				found[i] = w.versionOf(ctx, w.program(a.programs...))
			}
		})
	}
	wait.Wait()
	for i, a := range asked {
		r.version(a.name, found[i])
	}
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
