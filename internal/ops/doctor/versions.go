package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
			if a.name == "docker" {
				found[i] = w.runningDocker(ctx)
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

// runningDocker returns the version of the running dockerd, or "".
func (w *World) runningDocker(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	v, err := w.DockerVersion(ctx, w.path(dockerSocket))
	if err != nil {
		return ""
	}
	return v
}

// versionOf returns the version of a program on disk, or "" if it is unknown or root must not run
// it.
func (w *World) versionOf(ctx context.Context, program string) string {
	if program == "" || w.checkProgram(program) != nil {
		return ""
	}
	v, err := w.Version(ctx, program)
	if err != nil {
		return ""
	}
	return v
}

// firstLine returns the first line of an error, without the directory that stands for the root.
func (w *World) firstLine(err error) string {
	text, rest, more := strings.Cut(err.Error(), "\n")
	if w.Root != "/" {
		text = strings.ReplaceAll(text, w.Root, "")
	}
	if more {
		text += fmt.Sprintf(" (and %d more)", strings.Count(rest, "\n")+1)
	}
	return text
}

// lineOf returns the name of a line of a file.
func lineOf(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }
