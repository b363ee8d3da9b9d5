// Package engine lists the running containers. It asks all engines and runtimes on the host, and
// the registry of the toolkit, at the same time and with a time limit, and merges what they know of
// a container.
package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"palisade/internal/linux/sys"
)

// Container is a running container.
type Container struct {
	ID string
	// Names are its names for users of the engine, if there are any.
	Names []string
	// Engine is the engine or, without one, the runtime: docker, podman, cri-o, containerd, isulad,
	// incus, lxd, proxmox, lxc, runc, crun. It is empty if unknown.
	Engine string
	// Creator is the user who created a container of liblxc. The ID of a container of any other
	// user than root begins with the user's number: "1000/web".
	Creator uint32
	// PID is the container's init.
	PID int
}

// ShortID returns the id as tables show it: an id that an engine generated is cut off.
func ShortID(id string) string {
	const made, shown = 64, 12
	if len(id) == made {
		return id[:shown]
	}
	return id
}

// Skipped is a source that failed, wholly or in part.
type Skipped struct {
	Source string `json:"source"`
	Error  string `json:"error"`
}

// Options configure Find.
type Options struct {
	// Run, Lib, Etc and Proc are the directories /run, /var/lib, /etc and /proc.
	Run, Lib, Etc, Proc string
	Registry            Registry
	// Inits are the inits of all pid namespaces directly below the host's.
	Inits []Init
	// Isula is the client of iSulad, "isula".
	Isula string
	// Timeout bounds the time for each source.
	Timeout time.Duration
}

// finding is a container according to one source. It may have ended since, and its pid may belong
// to another process.
type finding struct {
	Container
	// started is the start time of the process, since boot; 0 if unknown.
	started time.Duration
	// known is the time at which the process was the container's; zero means now.
	known time.Time
	// lookUp returns the PID if it is 0: it asks source, and returns 0 if the container has ended.
	lookUp func(ctx context.Context) (int, error)
	source string
	// byCgroup is set if only the name of a cgroup says that the process is a container: what a
	// runtime or engine knows of the process takes precedence.
	byCgroup bool
}

// source lists containers. It may return findings together with an error.
type source struct {
	name string
	find func(ctx context.Context) ([]finding, error)
}

// Find returns the running containers that the sources know.
func Find(ctx context.Context, o Options) ([]Container, []Skipped) {
	sources := o.sources()
	findings := make([][]finding, len(sources))
	errs := make([]error, len(sources))
	ForEach(len(sources), len(sources), func(i int) {
		findings[i], errs[i] = inTime(ctx, o.Timeout, sources[i].find)
	})
	var skipped []Skipped
	for i, err := range errs {
		if err != nil {
			skipped = append(skipped, Skipped{sources[i].name, err.Error()})
		}
	}
	all := slices.Concat(findings...)
	skipped = append(skipped, o.lookUp(ctx, all)...)
	return merge(o.Proc, all), skipped
}

func (o *Options) sources() []source {
	inRun := func(
		read func(file string) (finding, error), patterns ...string,
	) func(context.Context) ([]finding, error) {
		return func(context.Context) ([]finding, error) { return findFiles(o.Run, patterns, read) }
	}
	sources := []source{
		{"registry", func(context.Context) ([]finding, error) { return o.Registry.findings() }},
		// The host's containerd, and one that dockerd has started.
		{"containerd", inRun(readTask,
			"containerd/io.containerd.runtime.v2.task/*/*/init.pid",
			"docker/containerd/daemon/io.containerd.runtime.v2.task/*/*/init.pid")},
		// runc's own directory, and those that engines set with --root.
		{"runc", inRun(readRunc,
			"runc/*/state.json", "containerd/runc/*/*/state.json",
			"docker/runtime-*/*/*/state.json", "isulad/runc/*/state.json")},
		{"crun", inRun(readCrun, "crun/*/status")},
		{"podman", func(context.Context) ([]finding, error) { return findStored(o.Lib) }},
		{"isulad's files", func(context.Context) ([]finding, error) { return o.findIsulad() }},
	}
	podman := newAPI("podman", filepath.Join(o.Run, "podman/podman.sock"))
	if podman != nil {
		sources = append(sources, source{podman.name(), podman.find})
	}
	docker := newAPI("docker", filepath.Join(o.Run, "docker.sock"))
	// podman-docker links Docker's socket to Podman's.
	if docker != nil && (podman == nil || !os.SameFile(podman.info, docker.info)) {
		sources = append(sources, source{docker.name(), docker.find})
	}
	if isula, err := exec.LookPath(o.Isula); err == nil {
		sources = append(sources, source{"isulad", func(ctx context.Context) ([]finding, error) {
			found, err := findIsula(ctx, isula)
			if err != nil {
				err = fmt.Errorf("%w; %s", err, o.describeIsulad())
			}
			return found, err
		}})
	}
	// The last one, since merge adds cgroups to what other sources know.
	return append(sources, source{"lxc", o.findLXC})
}

// inTime calls a source, and returns without it when it takes too long.
func inTime[T any](
	ctx context.Context, limit time.Duration, call func(context.Context) (T, error),
) (T, error) {
	// The source gets a moment after the end of ctx to return an error that names the slow
	// operation.
	const moment = time.Second
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), limit+moment)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return sys.Within(late, func() (T, error) { return call(ctx) }, nil)
}

// ForEach calls do for 0 to n-1, several at a time.
func ForEach(n, atATime int, do func(i int)) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, max(atATime, 1))
	for i := range n {
		slots <- struct{}{}
		wait.Go(func() {
			do(i)
			<-slots
		})
	}
	wait.Wait()
}

// lookUp sets the processes of containers for which no source has one.
func (o *Options) lookUp(ctx context.Context, all []finding) []Skipped {
	hasPID := make(map[string]bool)
	for _, f := range all {
		hasPID[f.ID] = hasPID[f.ID] || f.PID > 0 && isAlive(o.Proc, &f)
	}
	var missing []*finding
	for i := range all {
		if f := &all[i]; f.lookUp != nil && !hasPID[f.ID] {
			missing = append(missing, f)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	errs := make([]error, len(missing))
	ForEach(len(missing), 8, func(i int) { missing[i].PID, errs[i] = missing[i].lookUp(ctx) })
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return []Skipped{{missing[i].source, errs[i].Error()}} // the first error is enough
	}
	return nil
}

// merge merges the findings of each container, and leaves out containers that have ended.
func merge(proc string, all []finding) []Container {
	found := make(map[int]*Container)
	for _, f := range all {
		if f.PID <= 0 || !isAlive(proc, &f) {
			continue
		}
		if c, ok := found[f.PID]; ok {
			if !f.byCgroup || c.Engine == "" {
				c.add(&f.Container)
			}
		} else {
			c := f.Container
			found[f.PID] = &c
		}
	}
	byID := make(map[string][]*Container)
	for _, c := range found {
		byID[c.ID] = append(byID[c.ID], c)
	}
	for _, f := range all {
		if f.PID == 0 {
			for _, c := range byID[f.ID] {
				c.add(&f.Container)
			}
		}
	}
	containers := make([]Container, 0, len(found))
	for _, pid := range slices.Sorted(maps.Keys(found)) {
		containers = append(containers, *found[pid])
	}
	return containers
}

func (c *Container) add(other *Container) {
	for _, name := range other.Names {
		if !slices.Contains(c.Names, name) {
			c.Names = append(c.Names, name)
		}
	}
	if isRuntime(c.Engine) && other.Engine != "" {
		c.Engine = other.Engine
	}
}

// isRuntime reports whether name is a runtime rather than an engine, or empty.
func isRuntime(name string) bool { return name == "" || name == "runc" || name == "crun" }
