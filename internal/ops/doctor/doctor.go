// Package doctor finds problems on a host: it checks the kernel, lxcfs, containers and the
// configuration of engines, and gives a remedy for each finding. It changes nothing. The size of
// what it reads, and the time of each check, are bounded.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"palisade/internal/cli/cmdline"
	"palisade/internal/linux/sys"
)

// Level is the severity of a finding.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Info    Level = "info"
	Warning Level = "warning"
	Error   Level = "error"
)

// Levels lists all levels, the worst first.
var Levels = []Level{Error, Warning, Info, OK}

// Finding is the result of a check.
type Finding struct {
	// ID names the kind of finding. It is stable across versions; docs/palisade.md lists all.
	ID    string `json:"id"`
	Level Level  `json:"level"`
	// Subject is a file, an engine, a container.
	Subject string `json:"subject"`
	// Problem describes the problem, or the passed check, in one line.
	Problem string `json:"problem"`
	// Remedy is empty if there is no problem.
	Remedy string `json:"remedy,omitempty"`
	// Command is set if the remedy is a command for root's shell, rather than advice.
	Command bool `json:"command,omitempty"`

	// engine is the engine of the container that is the subject.
	engine string
	// check is the name of the check.
	check string
}

// Report contains all findings.
type Report struct {
	Findings []Finding `json:"findings"`
	// Versions has the known versions of programs and of the kernel.
	Versions map[string]string `json:"versions"`

	facts
}

// facts are what checks learn for other checks, and for Status.
type facts struct {
	// engines are those that were checked.
	engines []string
	// optIn are the engines that call the hook only for containers that ask for it.
	optIn []string
	// askBroker and callShift are the engines that ask authz-broker and that call userns-shift.
	askBroker, callShift []string
	// The others are nil if their check was not done.
	servers    servers
	containers *Containers
	authz      *Authz
	shift      *Shift
	fronts     []Front
}

func (f *facts) merge(other *facts) {
	f.engines = append(f.engines, other.engines...)
	f.optIn = append(f.optIn, other.optIn...)
	f.askBroker = append(f.askBroker, other.askBroker...)
	f.callShift = append(f.callShift, other.callShift...)
	f.servers = append(f.servers, other.servers...)
	f.containers = cmp.Or(f.containers, other.containers)
	f.authz = cmp.Or(f.authz, other.authz)
	f.shift = cmp.Or(f.shift, other.shift)
	f.fronts = append(f.fronts, other.fronts...)
}

// Count returns the number of findings of a level.
func (r *Report) Count(level Level) int { return len(r.Of(level)) }

// HasProblems reports whether there are warnings or errors.
func (r *Report) HasProblems() bool { return r.Count(Error)+r.Count(Warning) > 0 }

type remedy struct {
	text    string
	command bool
}

// command returns a remedy that is a command.
func command(format string, args ...any) remedy {
	return remedy{fmt.Sprintf(format, args...), true}
}

// advice returns a remedy in words.
func advice(format string, args ...any) remedy {
	return remedy{fmt.Sprintf(format, args...), false}
}

// add adds a finding. The texts may contain hostile names.
func (r *Report) add(
	level Level, id, subject string, cure remedy, format string, args ...any,
) {
	r.Findings = append(r.Findings, Finding{
		ID: id, Level: level, Subject: cmdline.OneLine(subject),
		Problem: cmdline.OneLine(fmt.Sprintf(format, args...)),
		Remedy:  cmdline.OneLine(cure.text), Command: cure.command,
	})
}

func (r *Report) error(id, subject string, cure remedy, format string, args ...any) {
	r.add(Error, id, subject, cure, format, args...)
}

func (r *Report) warn(id, subject string, cure remedy, format string, args ...any) {
	r.add(Warning, id, subject, cure, format, args...)
}

func (r *Report) info(id, subject string, cure remedy, format string, args ...any) {
	r.add(Info, id, subject, cure, format, args...)
}

func (r *Report) fine(id, subject, format string, args ...any) {
	r.add(OK, id, subject, remedy{}, format, args...)
}

// maxNamed bounds the number of findings of one kind.
const maxNamed = 20

// shorten keeps the first maxNamed findings of each kind and engine, from the given index on, and
// adds a finding for the others. format has a %d for their number.
func (r *Report) shorten(from int, subject string, cure remedy, format string) {
	type group struct {
		level      Level
		id, engine string
	}
	count := make(map[group]int)
	var long []group
	r.Findings = append(r.Findings[:from], slices.DeleteFunc(r.Findings[from:], func(f Finding) bool {
		g := group{f.Level, f.ID, f.engine}
		if count[g]++; count[g] == maxNamed+1 {
			long = append(long, g)
		}
		return count[g] > maxNamed
	})...)
	for _, g := range long {
		r.add(g.level, g.id, subject, cure, format, count[g]-maxNamed)
		r.Findings[len(r.Findings)-1].engine = g.engine
	}
}

// shortenOthers is shorten for problems that have to be solved one by one.
func (r *Report) shortenOthers(from int) {
	r.shorten(from, "others", advice("fix the listed ones first, then run palisade doctor again"),
		"%d more have the same problem")
}

// optional adds that an engine calls the hook only for containers that ask for it.
func (r *Report) optional(e *engineKind, cure remedy, format string, args ...any) {
	r.optIn = append(r.optIn, e.name)
	r.info("hook-optional", e.name, cure, format, args...)
}

// version adds the version of a program, unless it is empty.
func (r *Report) version(program, version string) {
	if version != "" {
		r.Versions[program] = cmdline.OneLine(version)
	}
}

type check struct {
	name string
	look func(ctx context.Context, w *World, r *Report)
	// limit bounds its time.
	limit time.Duration
}

// checks lists all checks, in the order in which problems should be fixed.
var checks = []check{
	{"kernel", checkKernel, 5 * time.Second},
	{"fuse", checkFuse, 5 * time.Second},
	{"cgroups", checkCgroups, 5 * time.Second},
	{"lxcfs", checkLxcfs, 10 * time.Second},
	{"containers", checkContainers, 20 * time.Second},
	{"isulad", checkIsulad, 5 * time.Second},
	{"podman", checkPodman, 5 * time.Second},
	{"crio", checkCrio, 5 * time.Second},
	{"docker", checkDocker, 5 * time.Second},
	{"containerd", checkContainerd, 5 * time.Second},
	{"nri", checkNRI, 10 * time.Second},
	{"front", checkFronts, 10 * time.Second},
	{"policy", checkPolicy, 10 * time.Second},
	{"userns", checkUserns, 5 * time.Second},
	{"versions", checkVersions, 10 * time.Second},
}

// Examine runs all checks at the same time, and returns their findings in the order of the checks.
func Examine(ctx context.Context, w *World) *Report {
	reports := make([]*Report, len(checks))
	var wait sync.WaitGroup
	for i, c := range checks {
		wait.Go(func() { reports[i] = c.inTime(ctx, w) })
	}
	wait.Wait()
	all := newReport()
	for i, r := range reports {
		for _, f := range r.Findings {
			f.check = checks[i].name
			all.Findings = append(all.Findings, f)
		}
		maps.Copy(all.Versions, r.Versions)
		all.merge(&r.facts)
	}
	all.leaveOut()
	return all
}

// inTime runs the check, and returns without it when it takes too long.
func (c *check) inTime(ctx context.Context, w *World) *Report {
	limit := cmp.Or(w.limit, c.limit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	late, cancelLate := context.WithTimeout(context.WithoutCancel(ctx), limit+limit/10)
	defer cancelLate()
	r, err := sys.Within(late, func() (r *Report, _ error) {
		r = newReport()
		defer func() {
			if mistake := recover(); mistake != nil { // the findings of other checks are still reported
				r.warn("check-incomplete", c.name, advice("report this as a bug of palisade"),
					"the check broke off: %v", mistake)
			}
		}()
		c.look(ctx, w, r)
		return r, nil
	}, nil)
	if err != nil {
		r = newReport()
		r.warn("check-incomplete", c.name,
			advice("find out which file or program of %s hangs, and run palisade doctor again", c.name),
			"the check was not done after %v", limit)
	}
	return r
}

func newReport() *Report {
	return &Report{Findings: []Finding{}, Versions: make(map[string]string)}
}

// list joins the first words, and adds the number of the others.
func list(words []string) string {
	const most = 5
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}

// Of returns the findings of a level, in their order.
func (r *Report) Of(level Level) []Finding {
	isOther := func(f Finding) bool { return f.Level != level }
	return slices.DeleteFunc(slices.Clone(r.Findings), isOther)
}
