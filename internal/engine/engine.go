// Package engine tells which containers run. It asks what is there of engines, runtimes and the toolkit's own registry,
// all at the same time and none for long; what two of them tell of a container is put together.
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
)

// Container is a container that runs.
type Container struct {
	ID string
	// Names are those by which an engine's users call it, if the engine has names.
	Names []string
	// Engine is the engine or, where there is none, the runtime: docker, podman, cri-o, containerd,
	// isulad, incus, lxd, proxmox, lxc, runc, crun. It is empty if it is unknown.
	Engine string
	// Creator is the user whose container it is. The ID of one that is not root's begins with the
	// number of the user: "1000/web".
	Creator uint32
	// PID is the container's first process.
	PID int
}

// ShortID is an id as tables show it: of one that an engine made, the beginning.
func ShortID(id string) string {
	const made, shown = 64, 12
	if len(id) == made {
		return id[:shown]
	}
	return id
}

// Skipped is a source of which not all could be known.
type Skipped struct {
	Source string
	Err    error
}

// Options tell where to look.
type Options struct {
	// Run, Lib, Etc and Proc are the directories /run, /var/lib, /etc and /proc.
	Run, Lib, Etc, Proc string
	Registry            Registry
	// Inits are the inits of all pid namespaces directly below the host's.
	Inits []Init
	// Isula is the program that iSulad's users have, "isula".
	Isula string
	// Timeout is how long a source may take.
	Timeout time.Duration
}

// finding is what a source tells of a container. What it tells of a process is not yet known to be true: the container may
// have ended since.
type finding struct {
	Container
	// started is when the process started, since boot; 0 if it is not known.
	started time.Duration
	// known is when the process was known to be the container's; zero if that is now.
	known time.Time
	// lookUp finds the container's process, where the PID is 0: it asks source, and returns 0 if it has ended.
	lookUp func(ctx context.Context) (int, error)
	source string
	// byCgroup reports that only the name of a cgroup says that it is a container: whatever a
	// runtime or engine knows of the process counts instead.
	byCgroup bool
}

// source is one that knows of containers. Its findings may be good although there is an error.
type source struct {
	name string
	find func(ctx context.Context) ([]finding, error)
}

// Find finds all containers that run.
func Find(ctx context.Context, o Options) ([]Container, []Skipped) {
	sources := o.sources()
	findings := make([][]finding, len(sources))
	errs := make([]error, len(sources))
	forEach(len(sources), len(sources), func(i int) {
		findings[i], errs[i] = inTime(ctx, o.Timeout, sources[i].find)
	})
	var skipped []Skipped
	for i, err := range errs {
		if err != nil {
			skipped = append(skipped, Skipped{sources[i].name, err})
		}
	}
	all := slices.Concat(findings...)
	skipped = append(skipped, o.lookUp(ctx, all)...)
	return merge(o.Proc, all), skipped
}

func (o *Options) sources() []source {
	sources := []source{
		{"registry", func(context.Context) ([]finding, error) { return o.Registry.findings() }},
		{"containerd", func(context.Context) ([]finding, error) { return findTasks(o.Run) }},
		{"runc", func(context.Context) ([]finding, error) { return findRunc(o.Run) }},
		{"crun", func(context.Context) ([]finding, error) { return findCrun(o.Run) }},
		{"podman", func(context.Context) ([]finding, error) { return findStored(o.Lib) }},
		{"isulad's files", func(context.Context) ([]finding, error) { return o.findIsulad() }},
	}
	podman, docker := newAPI("podman", filepath.Join(o.Run, "podman/podman.sock")), newAPI("docker", filepath.Join(o.Run, "docker.sock"))
	if podman != nil && docker != nil && os.SameFile(podman.info, docker.info) {
		docker = nil // Podman stands in for Docker
	}
	for _, api := range []*api{podman, docker} {
		if api != nil {
			sources = append(sources, source{api.name(), api.find})
		}
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
	// The last: what is known by cgroups alone is added to what the others know.
	return append(sources, source{"lxc", o.findLXC})
}

// inTime calls a source and leaves it to itself when it takes too long.
func inTime[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	done := make(chan result, 1)
	go func() {
		defer cancel()
		value, err := call(ctx)
		done <- result{value, err}
	}()
	// The source has seen the end of ctx too, and is given a moment to say what it was that took so long.
	const moment = time.Second
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(limit + moment):
		var none T
		return none, context.DeadlineExceeded
	}
}

// forEach calls do for 0 to n-1, several at a time.
func forEach(n, atATime int, do func(i int)) {
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

// lookUp finds the processes that no source has told.
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
	forEach(len(missing), 8, func(i int) { missing[i].PID, errs[i] = missing[i].lookUp(ctx) })
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return []Skipped{{missing[i].source, errs[i]}} // one of a kind is enough
	}
	return nil
}

// merge puts together what was found of the same container, and leaves out those that have ended.
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

// add adds what another source tells of the same container.
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

// isRuntime tells that it is not an engine, or not known.
func isRuntime(name string) bool { return name == "" || name == "runc" || name == "crun" }
