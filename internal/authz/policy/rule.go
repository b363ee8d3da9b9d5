package policy

import (
	"fmt"
	"slices"
	"strings"
)

// The kinds of rules in a "deny" list: what a container must not get.
const (
	ruleDevices      = "devices"
	rulePrivileged   = "privileged"
	rulePID          = "pid"
	ruleNet          = "net"
	ruleIPC          = "ipc"
	ruleUTS          = "uts"
	ruleUser         = "user"
	ruleBinds        = "binds"
	ruleCapabilities = "capabilities"
	ruleSecurity     = "security-options"
	ruleNoRemap      = "no-user-remap"
)

var ruleKinds = []string{
	rulePrivileged, rulePID, ruleNet, ruleIPC, ruleUTS, ruleUser, ruleBinds, ruleDevices, ruleCapabilities, ruleSecurity, ruleNoRemap,
}

// privilegedRules are the kinds of rules that refuse a privileged container or process, which has
// all capabilities, all devices and none of the security options.
var privilegedRules = []string{rulePrivileged, ruleDevices, ruleCapabilities, ruleSecurity}

// rule is an entry of a "deny" list: a kind, and for capabilities which of them.
type rule struct {
	kind string
	// argument is a name without CAP_ for capabilities; "" is any.
	argument string
}

func (r rule) String() string {
	if r.argument == "" {
		return r.kind
	}
	return r.kind + ":" + r.argument
}

func parseRule(text string) (rule, error) {
	kind, argument, given := strings.Cut(text, ":")
	r := rule{kind, argument}
	switch {
	case !slices.Contains(ruleKinds, kind):
		return r, fmt.Errorf("the rule %q is none of %s", text, strings.Join(ruleKinds, ", "))
	case !given:
		return r, nil
	case kind == ruleBinds:
		// Earlier versions had this rule. A user who may mount another directory can make a link to
		// the path there, and mount the link. A check at the time of a request does not help: the
		// engine resolves the source whenever the container starts.
		return r, fmt.Errorf("the rule %q does not protect a path, to which links in other mounts lead; "+
			"write \"binds\", which refuses all bind mounts", text)
	case kind == ruleCapabilities:
		if r.argument = capability(argument); r.argument == "" || r.argument == allCapabilities {
			return r, fmt.Errorf("the rule %q names no capability, as in \"capabilities:SYS_ADMIN\"; \"capabilities\" is any", text)
		}
	default:
		return r, fmt.Errorf("the rule %q takes nothing behind its name", text)
	}
	return r, nil
}

const allCapabilities = "ALL"

// capability is the name that engines take all ways to write it for.
func capability(name string) string {
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_")
}

// hasRule tells whether the policy has a rule of one of the kinds.
func (p *Policy) hasRule(kinds ...string) bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool { return slices.Contains(kinds, r.kind) })
}

// compileRules parses the "deny" list.
func (p *Policy) compileRules() error {
	for _, text := range p.Deny {
		r, err := parseRule(text)
		if err != nil {
			return err
		}
		p.rules = append(p.rules, r)
	}
	return nil
}
