package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"palisade/internal/authz/action"
)

// Warning is something in a file that is allowed, and may not be meant.
type Warning struct {
	Line int
	Text string
	// Plain tells that the line plainly says so, and is likely to mean it: it is good to know, and no reason for doubt.
	Plain bool
}

var (
	// rootLike are the actions of which each makes a user root on the host.
	rootLike = []string{"container_attach", "container_create", "container_exec_create"}
	// disclosingActions are the reads that disclose most.
	disclosingActions = []string{
		"container_archive", "container_export", "container_inspect", "container_logs", "container_top",
		"image_attestations", "image_history", "image_inspect", "images_archive",
		"service_inspect", "service_list", "service_logs", "task_inspect", "task_list", "task_logs",
	}
)

// Lint warns of what may not be meant, with the clients of the given engines, or of all if none is
// given.
func (s *Set) Lint(engines ...action.Engine) (warnings []Warning) {
	if len(engines) == 0 {
		engines = []action.Engine{action.Docker, action.Isulad}
	}
	ofDocker := slices.Contains(engines, action.Docker)
	for _, p := range s.Policies {
		add := func(plain bool, format string, args ...any) {
			warnings = append(warnings, Warning{p.Line, fmt.Sprintf(format, args...), plain})
		}
		warn := func(format string, args ...any) { add(false, format, args...) }
		if everybody := s.byUser[""]; everybody != nil && everybody.Line < p.Line {
			warn("policy %q is never used: line %d decides for everybody", p.Name, everybody.Line)
		}
		for i, pattern := range p.Patterns {
			if p.matches[i] == 0 && !slices.Contains(matchAll, pattern) {
				warn("the action %q matches no action that is known", pattern)
			} else if more := p.surprises(pattern); len(more) > 0 {
				warn("the action %q grants %s too; \"exact\":true makes it match whole names", pattern, strings.Join(more, ", "))
			}
		}
		risky := p.grants(rootLike)
		if len(risky) > 0 && !p.ReadOnly {
			add(p.grantsAll(), "policy %q grants %s, with which a user can become root on the host", p.Name, strings.Join(risky, ", "))
		}
		if p.permitsPrivileged() {
			warn(`policy %q denies %s, but not "privileged": a privileged container can bypass these rules`,
				p.Name, p.quotedRules())
		}
		var secret []string
		if ofDocker {
			secret = p.secrets()
		}
		if len(secret) > 0 && p.ReadOnly {
			add(true, "policy %q is read-only, and does not grant %s, which disclose secrets",
				p.Name, strings.Join(secret, ", "))
		} else if len(secret) > 0 && !p.grantsAll() {
			add(len(risky) > 0, "policy %q grants %s, which disclose secrets",
				p.Name, strings.Join(secret, ", "))
		}
		for _, short := range p.halfGranted(engines) {
			warn("policy %q does not grant %s, which %s needs beside %s", p.Name, short.missing, short.command, short.granted)
		}
		// docker's client asks for that at first.
		if ofDocker && !p.permits(action.ForDocker("HEAD", "/_ping")) {
			warn("policy %q does not grant docker_ping: docker's client does not learn which version of the API to use", p.Name)
		}
		if open := p.grants(disclosingActions); len(open) > 0 && p.ReadOnly {
			add(true, "policy %q is read-only, and still lets users see what is in containers and images, by %s", p.Name, strings.Join(open, ", "))
		}
	}
	return warnings
}

// secrets returns the names of Docker's secret actions that the policy's patterns match.
func (p *Policy) secrets() (names []string) {
	for _, a := range action.List(action.Docker) {
		if a.IsSecret() && p.granted[a.ID] {
			names = append(names, a.Name)
		}
	}
	return names
}

// permitsPrivileged reports whether the policy has rules, but grants privileged containers or
// processes.
func (p *Policy) permitsPrivileged() bool {
	return len(p.rules) > 0 && !p.hasRule(privilegedRules...) && !p.ReadOnly &&
		len(p.grants([]string{"container_create", "container_exec_create"})) > 0
}

// quotedRules returns the rules as written in the policy file.
func (p *Policy) quotedRules() string {
	var all []string
	for _, r := range p.rules {
		all = append(all, fmt.Sprintf("%q", r.String()))
	}
	return strings.Join(all, ", ")
}

// surprises are the other actions that a pattern grants which is the name of one.
func (p *Policy) surprises(pattern string) (more []string) {
	if p.Exact || !slices.Contains(action.Names(), pattern) {
		return nil
	}
	for _, name := range action.Names() {
		if name != pattern && regexp.MustCompile(pattern).MatchString(name) {
			more = append(more, name)
		}
	}
	return more
}

// half is a client's command of which the policy grants the purpose, but not all that it needs.
type half struct{ command, granted, missing string }

// halfGranted returns such commands of the engines.
func (p *Policy) halfGranted(engines []action.Engine) (found []half) {
	for _, c := range action.Commands() {
		if !slices.Contains(engines, c.Engine) || !p.permits(c.Purpose) || p.permitsDetached(c) {
			continue
		}
		var missing []string
		for _, a := range c.Actions {
			if !p.permits(a) {
				missing = append(missing, a.Name)
			}
		}
		if len(missing) > 0 {
			found = append(found,
				half{c.Client() + " " + c.Name, c.Purpose.Name, strings.Join(missing, ", ")})
		}
	}
	return found
}

// permitsDetached reports whether the command can be used in the background.
func (p *Policy) permitsDetached(c action.Command) bool {
	detached, ok := action.FindCommand(c.Engine, c.Name+" -d")
	isDenied := func(a action.Action) bool { return !p.permits(a) }
	return ok && !slices.ContainsFunc(detached.Actions, isDenied)
}

// grantsAll tells whether the policy grants everything by one pattern.
func (p *Policy) grantsAll() bool {
	return slices.ContainsFunc(p.Patterns, func(pattern string) bool { return slices.Contains(matchAll, pattern) })
}

// grants are those of the actions that the policy grants.
func (p *Policy) grants(names []string) (granted []string) {
	for id, name := range action.Names() {
		if p.granted[id] && slices.Contains(names, name) {
			granted = append(granted, name)
		}
	}
	return granted
}
