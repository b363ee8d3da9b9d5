// Package doctor finds what is wrong on a host: it looks at the kernel, at lxcfs, at containers, and at what engines have in
// their configuration, and says for each finding what mends it. It changes nothing. What it reads is limited, and what takes too
// long is left to itself.
package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"palisade/internal/cmdline"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Info    Level = "info"
	Warning Level = "warning"
	Error   Level = "error"
)

// Levels are all of them, the worst first.
var Levels = []Level{Error, Warning, Info, OK}

// Finding is something that was looked at.
type Finding struct {
	ID    ID    `json:"id"`
	Level Level `json:"level"`
	// Subject is what it is about: a file, an engine, a container.
	Subject string `json:"subject"`
	// Problem is what is wrong, or fine, in one line.
	Problem string `json:"problem"`
	// Remedy mends it. It is empty where nothing is wrong.
	Remedy string `json:"remedy,omitempty"`
	// Command tells that the remedy is a command for root's shell; else it says what to do.
	Command bool `json:"command,omitempty"`

	// engine is that of a container.
	engine string
}

// Report is all that was found.
type Report struct {
	Findings []Finding `json:"findings"`
	// Versions are those of programs and of the kernel, as far as they are known.
	Versions map[string]string `json:"versions"`

	// choosy are the engines that call the hook for those containers alone that ask for it.
	choosy []string
}

// Count is how many findings are of a level.
func (r *Report) Count(level Level) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Level == level {
			n++
		}
	}
	return n
}

// Sick tells whether there are warnings or errors.
func (r *Report) Sick() bool { return r.Count(Error)+r.Count(Warning) > 0 }

// remedy is what mends a finding.
type remedy struct {
	text    string
	command bool
}

// run is a remedy that is a command.
func run(format string, args ...any) remedy { return remedy{fmt.Sprintf(format, args...), true} }

// do is a remedy in words.
func do(format string, args ...any) remedy { return remedy{fmt.Sprintf(format, args...), false} }

// add adds a finding, whose level is its id's. Its texts may have parts that others have made.
func (r *Report) add(id ID, subject string, cure remedy, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{
		ID: id, Level: kinds[id], Subject: cmdline.OneLine(subject), Problem: cmdline.OneLine(fmt.Sprintf(format, args...)),
		Remedy: cmdline.OneLine(cure.text), Command: cure.command,
	})
}

// shorten keeps of the findings from the given one on the first maxNamed of each kind, and says of the
// others how many there are.
func (r *Report) shorten(from int) {
	count := make(map[ID]int)
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool {
		if from--; from >= 0 {
			return false
		}
		count[f.ID]++
		return count[f.ID] > maxNamed
	})
	for _, id := range slices.Sorted(maps.Keys(count)) {
		if more := count[id] - maxNamed; more > 0 {
			r.add(id, "others", do("mend those that are named first, then call lxcfs-toolkit doctor again"), "the same is so for %d more", more)
		}
	}
}

// optional adds that an engine calls the hook for those containers alone that ask for it.
func (r *Report) optional(e *engineKind, cure remedy, format string, args ...any) {
	r.choosy = append(r.choosy, e.name)
	r.add(HookOptional, e.name, cure, format, args...)
}

// fine adds that something is as it should be.
func (r *Report) fine(id ID, subject, format string, args ...any) {
	r.add(id, subject, remedy{}, format, args...)
}

// version adds the version of a program, if it is known.
func (r *Report) version(program, version string) {
	if version != "" {
		r.Versions[program] = cmdline.OneLine(version)
	}
}

// check looks at one thing.
type check struct {
	name string
	look func(ctx context.Context, w *World, r *Report)
	// limit is how long it may take.
	limit time.Duration
}

// checks are all of them, in the order in which what they find is to be mended.
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
	{"policy", checkPolicy, 10 * time.Second},
	{"userns", checkUserns, 5 * time.Second},
	{"versions", checkVersions, 10 * time.Second},
}

// Examine looks at everything, at the same time, and returns what was found in the order of the checks.
func Examine(ctx context.Context, w *World) *Report {
	reports := make([]chan *Report, len(checks))
	for i, c := range checks {
		reports[i] = make(chan *Report, 1)
		go func() { reports[i] <- c.inTime(ctx, w) }()
	}
	all := &Report{Findings: []Finding{}, Versions: make(map[string]string)}
	for _, done := range reports {
		r := <-done
		all.Findings = append(all.Findings, r.Findings...)
		for program, version := range r.Versions {
			all.Versions[program] = version
		}
		all.choosy = append(all.choosy, r.choosy...)
	}
	all.leaveOut()
	return all
}

// inTime makes the check, and leaves it to itself when it takes too long.
func (c *check) inTime(ctx context.Context, w *World) *Report {
	limit := c.limit
	if w.limit != 0 {
		limit = w.limit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan *Report, 1)
	go func() { done <- c.safely(ctx, w) }()
	select {
	case r := <-done:
		return r
	case <-time.After(limit + limit/10):
		r := newReport()
		r.add(CheckIncomplete, c.name, do("find out which file or program of %s hangs, and call lxcfs-toolkit doctor again", c.name),
			"the check was not done after %v", limit)
		return r
	}
}

func newReport() *Report { return &Report{Versions: make(map[string]string)} }

// safely makes the check. A mistake of the program in one check does not hide what the others find.
func (c *check) safely(ctx context.Context, w *World) (r *Report) {
	r = newReport()
	defer func() {
		if mistake := recover(); mistake != nil {
			r.add(CheckIncomplete, c.name, do("report this as a mistake in lxcfs-toolkit"), "the check broke off: %v", mistake)
		}
	}()
	c.look(ctx, w, r)
	return r
}

// list joins the first of many words.
func list(words []string) string {
	const most = 5
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}

// Of are the findings of a level, in their order.
func (r *Report) Of(level Level) []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Level != level })
}
