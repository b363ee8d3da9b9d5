package toolkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

const (
	// targetTime bounds the time for one container.
	targetTime = 10 * time.Second
	// othersTime bounds the time for all containers of ordinary users and namespaces of unknown
	// containers, which come after root's: a user can have thousands, and make each take long.
	// systemd stops a unit whose ExecStartPost takes 90 seconds (DefaultTimeoutStartSec).
	othersTime = 20 * time.Second
)

// Outcome is the result of a command for a container.
type Outcome string

// Outcomes.
const (
	Done      Outcome = "done"
	Unchanged Outcome = "unchanged"
	Failed    Outcome = "failed"
	// Gone: the container has ended meanwhile.
	Gone Outcome = "gone"
	// Skipped: the container has no mount namespace of its own.
	Skipped Outcome = "skipped"
)

// Result is what a command has mounted in a container, or unmounted.
type Result struct {
	ID      string   `json:"id"`
	Names   []string `json:"names,omitempty"`
	Engine  string   `json:"engine,omitempty"`
	PID     int      `json:"pid"`
	Outcome Outcome  `json:"outcome"`
	// Virtual is the number of lxcfs files in the container now, Put the number of new ones,
	// Removed the number of mounts that were unmounted.
	Virtual int `json:"virtual"`
	Put     int `json:"put"`
	Removed int `json:"removed"`
	// Foreign lists the files on which something else is mounted. They were left alone.
	Foreign []string `json:"foreign,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Report is the result of a command for all its containers.
type Report struct {
	Results []Result `json:"containers"`
	// Skipped lists the engines that did not answer.
	Skipped []engine.Skipped `json:"skipped_engines,omitempty"`
}

// Err returns an error if the command failed for a container.
func (r *Report) Err() error {
	failed := 0
	for _, result := range r.Results {
		if result.Outcome == Failed {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d containers failed", failed, len(r.Results))
}

// Selection selects the containers of a command.
type Selection struct {
	// ID is the id of one container, an unambiguous prefix of it, or its name. If it is empty, all
	// containers are selected.
	ID string
	// Containers, unless nil, are the only ones: no engine is asked for others. A process counts as
	// a container's as long as its cgroup has the container's name.
	Containers []engine.Container
	// Jobs is the number of containers that are processed at a time.
	Jobs int
	// Timeout bounds the wait for a healthy lxcfs, and for another lxcfs-toolkit to end.
	Timeout time.Duration
}

// Remount mounts the files of lxcfs in the containers.
func (t *Toolkit) Remount(ctx context.Context, s Selection) (Report, error) {
	src, err := t.openSource(ctx, s.Timeout)
	if err != nil {
		return Report{}, err
	}
	defer src.Close()
	return t.apply(ctx, s, func(p *mounts.MountNS, full bool) (mounts.Change, error) {
		if !full && !p.HasLxcfs() {
			return mounts.Change{}, nil
		}
		return p.Put(src)
	})
}

// Umount unmounts the files of lxcfs from the containers.
func (t *Toolkit) Umount(ctx context.Context, s Selection) (Report, error) {
	return t.apply(ctx, s, func(p *mounts.MountNS, _ bool) (mounts.Change, error) { return p.Take() })
}

type action func(p *mounts.MountNS, full bool) (mounts.Change, error)

// apply calls do for the mount namespaces of the selected containers, several containers at a time.
func (t *Toolkit) apply(ctx context.Context, s Selection, do action) (Report, error) {
	lock, err := t.lock(ctx, s.Timeout)
	if err != nil {
		return Report{}, err
	}
	defer lock.Close()
	targets, skipped, err := t.find(ctx, s.Containers)
	if err != nil {
		return Report{}, err
	}
	report := Report{Results: []Result{}, Skipped: skipped}
	if s.ID != "" {
		found, err := engine.Resolve(containersOf(targets), s.ID)
		if err != nil {
			return report, err
		}
		targets = slices.DeleteFunc(targets, func(g *target) bool {
			return g.ID != found.ID || g.PID != found.PID
		})
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
		engine.ForEach(len(indices), s.Jobs, func(n int) {
			i := indices[n]
			report.Results[i] = targets[i].applyInTime(ctx, &host, do)
		})
	}
	applyAll(ctx, roots)
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	applyAll(ctx, users)
	// Mounts may propagate between these, and from containers to them. So they follow the
	// containers one by one, the oldest first, until none changes another.
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

// maxRounds bounds the number of rounds through namespaces that change each other.
const maxRounds = 4

func (r *Result) add(earlier *Result) {
	r.Put += earlier.Put
	r.Removed += earlier.Removed
	if earlier.Outcome == Done && r.Outcome != Failed {
		r.Outcome = Done
	}
}

func (g *target) applyInTime(ctx context.Context, host *mounts.Host, do action) Result {
	r := Result{ID: g.ID, Names: g.Names, Engine: g.Engine, PID: g.PID}
	ctx, cancel := context.WithTimeout(ctx, targetTime)
	defer cancel()
	if err := ctx.Err(); err != nil {
		r.Outcome, r.Error = Failed, "there was no time left for it: "+err.Error()
		return r
	}
	apply := func() (Result, error) { return g.apply(r, host, do), nil }
	result, err := sys.Within(ctx, apply, nil)
	if err != nil {
		r.Outcome, r.Error = Failed, "timed out: "+err.Error()
		return r
	}
	return result
}

func (g *target) apply(r Result, host *mounts.Host, do action) Result {
	if g.hostMounts {
		r.Outcome, r.Error = Skipped, "no mount namespace of its own"
		return r
	}
	r.Outcome = Gone
	var errs []error
	changes := 0
	for _, n := range g.namespaces {
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

// apply calls do for the namespace of one of its processes.
func (n *namespace) apply(host *mounts.Host, do action) (mounts.Change, error) {
	var all mounts.Change
	err := n.with(func(process sys.File, pid int) error {
		mountNS, err := mounts.OpenMountNS(process, "/")
		if err != nil {
			return err
		}
		defer mountNS.Close()
		if inode, err := mountNS.Namespace(); err != nil || inode != n.inode {
			return errors.Join(errGone, err)
		}
		mountNS.Nested, mountNS.IsLXC, mountNS.Host = n.nested, n.isLXC, *host
		// Before it reads the mount table: once the container's init has executed the container's
		// program, the runtime has made all mounts.
		stat, _, err := procfs.ReadTaskStat(process, pid, nil)
		mountNS.IsFinal = err == nil && stat.HasExecuted
		change, err := do(mountNS, n.full)
		all.Add(change)
		return err
	})
	return all, err
}
