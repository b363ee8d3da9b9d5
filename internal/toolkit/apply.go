package toolkit

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"palisade/internal/engine"
	"palisade/internal/mounts"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

const (
	// targetTime is how long one container may take.
	targetTime = 10 * time.Second
	// othersTime is how long all containers of other users than root, and namespaces that no engine
	// knows of, may take together: a user can have thousands, and make each take long. They come
	// after root's. systemd gives ExecStartPost of the unit 90 seconds (DefaultTimeoutStartSec).
	othersTime = 20 * time.Second
)

// Outcome is what has become of a container.
type Outcome string

// Outcomes.
const (
	Done      Outcome = "done"
	Unchanged Outcome = "unchanged"
	Failed    Outcome = "failed"
	Gone      Outcome = "gone"
	// Skipped: it has no mount namespace of its own.
	Skipped Outcome = "skipped"
)

// Result tells what was done to a container.
type Result struct {
	ID      string   `json:"id"`
	Names   []string `json:"names,omitempty"`
	Engine  string   `json:"engine,omitempty"`
	PID     int      `json:"pid"`
	Outcome Outcome  `json:"outcome"`
	// Virtual is the number of files that are lxcfs's now, Put of those that are new, Removed of mounts taken away.
	Virtual int `json:"virtual"`
	Put     int `json:"put"`
	Removed int `json:"removed"`
	// Foreign are files that were left alone, since something else is mounted on them.
	Foreign []string `json:"foreign,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Report is what a command has done.
type Report struct {
	Results []Result `json:"containers"`
	// Skipped are the engines that did not answer.
	Skipped []SkippedEngine `json:"skipped_engines,omitempty"`
}

// SkippedEngine is an engine that could not be asked.
type SkippedEngine struct {
	Source string `json:"source"`
	Error  string `json:"error"`
}

// SkippedEngines are the engines that a search has skipped.
func SkippedEngines(skipped []engine.Skipped) []SkippedEngine {
	var engines []SkippedEngine
	for _, s := range skipped {
		engines = append(engines, SkippedEngine{s.Source, s.Err.Error()})
	}
	return engines
}

// Failed is the number of containers that failed.
func (r *Report) Failed() int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == Failed {
			n++
		}
	}
	return n
}

// Selection says which containers are meant: one, by its id, an unambiguous beginning of it, or its name; or all, if ID is
// empty.
type Selection struct {
	ID string
	// Jobs is how many are dealt with at a time.
	Jobs int
	// Timeout is how long is waited for lxcfs to be healthy, and for another toolkit to end.
	Timeout time.Duration
}

// Remount makes lxcfs's files be in the containers.
func (t *Toolkit) Remount(ctx context.Context, s Selection) (Report, error) {
	src, err := t.openSource(ctx, s.Timeout)
	if err != nil {
		return Report{}, err
	}
	defer src.Close()
	return t.apply(ctx, s, func(p *mounts.Place, full bool) (mounts.Change, error) {
		if !full && !p.HasLxcfs() {
			return mounts.Change{}, nil
		}
		return p.Put(src)
	})
}

// Umount takes lxcfs's files out of the containers.
func (t *Toolkit) Umount(ctx context.Context, s Selection) (Report, error) {
	return t.apply(ctx, s, func(p *mounts.Place, _ bool) (mounts.Change, error) { return p.Take() })
}

// action is what is done to a mount namespace of a container.
type action func(p *mounts.Place, full bool) (mounts.Change, error)

// apply does something to containers, several at a time.
func (t *Toolkit) apply(ctx context.Context, s Selection, do action) (Report, error) {
	lock, err := t.lock(ctx, s.Timeout)
	if err != nil {
		return Report{}, err
	}
	defer lock.Close()
	targets, skipped, err := t.find(ctx)
	if err != nil {
		return Report{}, err
	}
	report := Report{Results: []Result{}, Skipped: SkippedEngines(skipped)}
	if s.ID != "" {
		if targets, err = pick(targets, s.ID); err != nil {
			return report, err
		}
	}
	host, err := t.host(ctx)
	if err != nil {
		return report, err
	}
	report.Results = make([]Result, len(targets))
	var byRank [3][]int
	for i, g := range targets {
		byRank[g.rank()] = append(byRank[g.rank()], i)
	}
	roots, users, unknown := byRank[0], byRank[1], byRank[2]
	applyAll := func(ctx context.Context, indices []int) {
		var wait sync.WaitGroup
		slots := make(chan struct{}, max(s.Jobs, 1))
		for _, i := range indices {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				report.Results[i] = targets[i].applyInTime(ctx, &host, do)
			})
		}
		wait.Wait()
	}
	applyAll(ctx, roots)
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	applyAll(ctx, users)
	// These may propagate mounts to each other, and get mounts from a container: so one by one, after
	// the containers, the oldest first, until none of them changes another.
	slices.SortFunc(unknown, func(a, b int) int {
		return cmp.Compare(targets[a].PID, targets[b].PID)
	})
	for round := range maxRounds {
		changed := 0
		for _, i := range unknown {
			r := targets[i].applyInTime(ctx, &host, do)
			if r.Outcome == Done {
				changed++
			}
			if round > 0 {
				r.add(&report.Results[i])
			}
			report.Results[i] = r
		}
		if changed == 0 || len(unknown) == 1 {
			break
		}
	}
	return report, nil
}

// maxRounds bounds how often namespaces are looked at again that change each other.
const maxRounds = 4

// add adds what was done earlier.
func (r *Result) add(earlier *Result) {
	r.Put += earlier.Put
	r.Removed += earlier.Removed
	if earlier.Outcome == Done && r.Outcome != Failed {
		r.Outcome = Done
	}
}

// pick finds the one that is meant.
func pick(targets []*target, id string) ([]*target, error) {
	containers := make([]engine.Container, len(targets))
	for i, g := range targets {
		containers[i] = g.Container
	}
	found, err := engine.Resolve(containers, id)
	if err != nil {
		return nil, err
	}
	for _, g := range targets {
		if g.ID == found.ID && g.PID == found.PID {
			return []*target{g}, nil
		}
	}
	return nil, engine.ErrUnknown
}

// applyInTime does it, and gives up waiting after some time.
func (g *target) applyInTime(ctx context.Context, host *mounts.Host, do action) Result {
	r := Result{ID: g.ID, Names: g.Names, Engine: g.Engine, PID: g.PID}
	ctx, cancel := context.WithTimeout(ctx, targetTime)
	defer cancel()
	if err := ctx.Err(); err != nil {
		r.Outcome, r.Error = Failed, "there was no time left for it: "+err.Error()
		return r
	}
	done := make(chan Result, 1)
	go func() { done <- g.apply(r, host, do) }()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		r.Outcome, r.Error = Failed, "gave up: "+ctx.Err().Error()
		return r
	}
}

func (g *target) apply(r Result, host *mounts.Host, do action) Result {
	if g.hostMounts {
		r.Outcome, r.Error = Skipped, "it has no mount namespace of its own"
		return r
	}
	r.Outcome = Gone
	var errs []error
	changes := 0
	for _, n := range g.spaces {
		change, err := n.apply(host, do)
		if errors.Is(err, errGone) {
			continue
		}
		if r.Outcome == Gone {
			r.Outcome = Unchanged
		}
		if !n.nested || r.Virtual == 0 {
			r.Virtual = len(change.Virtual)
		}
		r.Put += len(change.Put)
		r.Removed += change.Removed
		changes += len(change.Put) + change.Removed + change.Uncovered
		r.Foreign = append(r.Foreign, change.Foreign...)
		if n.nested && errors.Is(err, mounts.ErrNoProc) {
			err = nil
		}
		errs = append(errs, err)
	}
	if changes > 0 {
		r.Outcome = Done
	}
	if err := errors.Join(errs...); err != nil {
		r.Outcome, r.Error = Failed, err.Error()
	}
	return r
}

// apply enters the namespace by one of its processes.
func (n *namespace) apply(host *mounts.Host, do action) (mounts.Change, error) {
	var all mounts.Change
	err := n.with(func(process sys.File, pid int) error {
		place, err := mounts.OpenPlace(process, "/")
		if err != nil {
			return err
		}
		defer place.Close()
		if inode, err := place.Namespace(); err != nil || inode != n.inode {
			return errors.Join(errGone, err)
		}
		place.Nested, place.IsLXC, place.Host = n.nested, n.isLXC, *host
		place.IsFinal = runsProgram(process, pid) // before it reads the mount table
		change, err := do(place, n.full)
		all.Add(change)
		return err
	})
	return all, err
}

// runsProgram reports whether the process, the init of a container, runs the container's program:
// the runtime is done with its mounts.
func runsProgram(process sys.File, pid int) bool {
	stat, _, err := procfs.ReadTaskStat(process, pid, nil)
	return err == nil && stat.HasExecuted
}
