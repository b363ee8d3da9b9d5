package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"
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
	asked := map[string]string{
		toolkitName: toolkitName, "userns-shift": "userns-shift", broker: broker,
		"runc": "runc", "crun": "crun",
	}
	for _, e := range []*engineKind{
		&lxcEngines[0], &isulads[0], &podman, &crio, &docker, &containerd,
	} {
		if len(w.Engines) == 0 || slices.Contains(w.Engines, e.name) {
			asked[e.name] = e.program
		}
	}
	var wait sync.WaitGroup
	var lock sync.Mutex
	for name, program := range asked {
		wait.Go(func() {
			v := ""
			if name == "docker" { // the running one, if it answers
				limited, cancel := context.WithTimeout(ctx, answerTime)
				defer cancel()
				v, _ = w.DockerVersion(limited, w.path(dockerSocket))
			}
			path := w.program(program)
			if name == toolkitName {
				path = cmp.Or(path, w.installedToolkit())
			}
			if v == "" {
				v = w.versionOf(ctx, path)
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
	text, _ := w.Ask(ctx, program, "--version")
	return versionIn(text)
}

// versionIn returns the version in the first line of a program's output: the word after "version",
// or the last one.
func versionIn(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	word := words[len(words)-1]
	isWord := func(w string) bool { return strings.EqualFold(w, "version") }
	if i := slices.IndexFunc(words, isWord); i >= 0 && i+1 < len(words) {
		word = words[i+1]
	} else if len(words) == 4 && words[0] == "containerd" {
		word = words[2] // before it the name twice, after it the commit
	}
	return strings.TrimSuffix(word, ",")
}
