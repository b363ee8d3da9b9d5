package policy

import (
	"fmt"
	"slices"
	"strings"

	"palisade/internal/authz/action"
)

// Warning is a valid line of a policy file that may not be intended.
type Warning struct {
	Line int
	Text string
	// Explicit reports that the line states this explicitly, so that it probably is intended.
	Explicit bool
}

var (
	// rootEquivalentActions each allow a user to become root on the host.
	rootEquivalentActions = []string{"container_attach", "container_create", "container_exec_create"}
	// podmanRootActions are additional ones of Podman: restored containers may have any
	// configuration, builds may mount directories of the host, a push or an import into a volume may
	// write files of the host, and secrets may have a driver that runs commands.
	podmanRootActions = []string{
		"container_restore", "image_build", "image_push", "libpod_kube_apply", "libpod_kube_play",
		"libpod_local_artifact", "libpod_local_build", "libpod_local_load", "libpod_quadlet_install",
		"libpod_scp", "pod_create", "secret_create", "volume_import",
	}
	// hostRules are the kinds of rules without which a container can reach the host, or the processes
	// of others: capabilities:NAME is not enough.
	hostRules = []string{"privileged", "binds", "pid", "devices", "capabilities"}
	// disclosingActions are the reads that disclose most.
	disclosingActions = []string{
		"container_archive", "container_export", "container_inspect", "container_logs", "container_top",
		"image_attestations", "image_history", "image_inspect", "images_archive",
		"service_inspect", "service_list", "service_logs", "task_inspect", "task_list", "task_logs",
		"libpod_artifact_extract", "libpod_kube_generate", "libpod_quadlet_inspect",
		"libpod_systemd_generate", "pod_inspect", "pod_top", "volume_export",
	}
)

// Lint returns warnings about the policies for the clients of the given engines, by default of
// Docker and iSulad, which ask plug-ins.
func (s *Set) Lint(engines ...action.Engine) (warnings []Warning) {
	if len(engines) == 0 {
		engines = []action.Engine{action.Docker, action.Isulad}
	}
	for _, p := range s.Policies {
		l := linter{
			Policy: p, engines: engines, hasDocker: slices.Contains(engines, action.Docker),
			hasPodman: slices.Contains(engines, action.Podman),
		}
		if all := s.index.users[""]; all != nil && all.Line < p.Line {
			l.warn("policy %q is never used: line %d applies to every user", p.Name, all.Line)
		}
		l.checkPatterns()
		l.checkRisks()
		l.checkClients()
		warnings = append(warnings, l.warnings...)
	}
	return warnings
}

type linter struct {
	*Policy
	engines   []action.Engine
	hasDocker bool
	hasPodman bool
	warnings  []Warning
}

func (l *linter) warn(format string, args ...any) { l.add(false, format, args...) }

func (l *linter) add(explicit bool, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{l.Line, fmt.Sprintf(format, args...), explicit})
}

func (l *linter) checkPatterns() {
	for i, pattern := range l.Patterns {
		if l.matches[i] == 0 && !slices.Contains(matchAll, pattern) {
			l.warn("the pattern %q matches no known action", pattern)
		}
		if l.Exact || !slices.Contains(action.Names(), pattern) {
			continue
		}
		var others []string
		for _, name := range action.Names() {
			if name != pattern && strings.Contains(name, pattern) {
				others = append(others, name)
			}
		}
		if len(others) > 0 {
			l.warn("the pattern %q also grants %s; \"exact\":true matches whole names only",
				pattern, strings.Join(others, ", "))
		}
	}
}

// checkRisks warns of actions that make a user root on the host or disclose secrets.
func (l *linter) checkRisks() {
	names := rootEquivalentActions
	if l.hasPodman {
		names = slices.Concat(names, podmanRootActions)
	}
	risky := slices.DeleteFunc(l.grantsOf(names), func(name string) bool {
		return len(l.rules) > 0 && slices.Contains(bypassActions, name)
	})
	if len(risky) > 0 && !l.ReadOnly {
		l.add(l.grantsAll(), "policy %q grants %s, with which a user can become root on the host",
			l.Name, strings.Join(risky, ", "))
	}
	var denied, secrets []string
	for _, r := range l.rules {
		denied = append(denied, fmt.Sprintf("%q", r.String()))
	}
	for _, engine := range l.engines {
		for _, a := range action.List(engine) {
			if a.IsSecret() && l.granted[a.Name] && !slices.Contains(secrets, a.Name) {
				secrets = append(secrets, a.Name)
			}
		}
	}
	creates := l.grantsOf([]string{"container_create", "container_exec_create", "pod_create"})
	if len(l.rules) > 0 && !l.hasRule(privilegedRules...) && !l.ReadOnly && len(creates) > 0 {
		l.warn(`policy %q denies %s, but not "privileged": a privileged container can bypass these rules`,
			l.Name, strings.Join(denied, ", "))
	}
	var missing []string
	for _, kind := range hostRules {
		if !slices.ContainsFunc(l.rules, func(r rule) bool { return r == rule{kind: kind} }) {
			missing = append(missing, fmt.Sprintf("%q", kind))
		}
	}
	if l.Own && !l.ReadOnly && len(creates) > 0 && len(missing) > 0 {
		l.warn(`policy %q has "own", but does not deny %s: a container can reach those of others `+
			"through the host", l.Name, strings.Join(missing, ", "))
	}
	switch {
	case len(secrets) == 0:
	case l.ReadOnly:
		l.add(true, "policy %q is read-only, and does not grant %s, which disclose secrets",
			l.Name, strings.Join(secrets, ", "))
	case !l.grantsAll():
		l.add(len(risky) > 0, "policy %q grants %s, which disclose secrets",
			l.Name, strings.Join(secrets, ", "))
	}
}

// checkClients warns of commands that fail for an action that the policy does not grant, and of
// what read-only users see.
func (l *linter) checkClients() {
	isDenied := func(a action.Action) bool { return !l.permits(a) }
	for _, c := range action.Commands() {
		detached, ok := action.FindCommand(c.Engine, c.Name+" -d")
		if !slices.Contains(l.engines, c.Engine) || isDenied(c.Purpose) ||
			strings.Contains(c.Name, " -") || // options are the user's choice
			ok && !slices.ContainsFunc(detached.Actions, isDenied) {
			continue
		}
		var missing []string
		for _, a := range c.Actions {
			if isDenied(a) {
				missing = append(missing, a.Name)
			}
		}
		if len(missing) > 0 {
			l.warn("policy %q does not grant %s, which %s %s needs in addition to %s",
				l.Name, strings.Join(missing, ", "), c.Client(), c.Name, c.Purpose.Name)
		}
	}
	switch lacksPing := !l.permits(action.ForDocker("HEAD", "/_ping")); {
	case lacksPing && l.hasPodman:
		l.warn("policy %q does not grant docker_ping, without which podman does not connect", l.Name)
	case lacksPing && l.hasDocker:
		l.warn("policy %q does not grant docker_ping, with which docker negotiates the API version",
			l.Name)
	}
	reads := slices.DeleteFunc(l.grantsOf(disclosingActions), func(name string) bool {
		return !slices.ContainsFunc(l.engines, func(e action.Engine) bool { return action.Has(e, name) })
	})
	if len(reads) > 0 && l.ReadOnly {
		l.add(true, "policy %q is read-only, but shows the content of containers and images with %s",
			l.Name, strings.Join(reads, ", "))
	}
}

// grantsAll reports whether one pattern grants all actions.
func (p *Policy) grantsAll() bool {
	return slices.ContainsFunc(p.Patterns, func(s string) bool { return slices.Contains(matchAll, s) })
}

// grantsOf returns those of the named actions that the policy's patterns match.
func (p *Policy) grantsOf(names []string) (granted []string) {
	for _, name := range action.Names() {
		if p.granted[name] && slices.Contains(names, name) {
			granted = append(granted, name)
		}
	}
	return granted
}
