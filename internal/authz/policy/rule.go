package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ruleKinds are the kinds of rules in a "deny" list.
var ruleKinds = []string{
	"privileged", "pid", "net", "ipc", "uts", "user", "cgroupns", "binds", "volumes-from", "rootfs",
	"devices", "capabilities", "security-options", "sysctls", "runtime", "hooks", "no-user-remap",
}

// privilegedRules are the kinds of rules that refuse a privileged container or process, which gets
// all capabilities and devices and none of the security options.
var privilegedRules = []string{"privileged", "devices", "capabilities", "security-options"}

type rule struct {
	kind     string
	argument string // the name of a capability without CAP_; "" for any
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
		return r, fmt.Errorf("unknown rule %q; want one of %s", text, strings.Join(ruleKinds, ", "))
	case !given:
		return r, nil
	case kind == "binds":
		// Earlier versions had this rule. A user who may mount another directory can make a symbolic
		// link to the path there, and mount the link. A check at the time of a request does not help:
		// the engine resolves the source whenever the container starts.
		return r, fmt.Errorf("the rule %q does not protect a path from symbolic links in other mounts; "+
			"write \"binds\", which refuses all bind mounts", text)
	case kind == "capabilities":
		r.argument = canonicalCapability(argument)
		if r.argument == "" || r.argument == allCapabilities {
			return r, fmt.Errorf("the rule %q names no capability; write, for example, "+
				"\"capabilities:SYS_ADMIN\", or \"capabilities\" for any", text)
		}
	default:
		return r, fmt.Errorf("the rule %q takes no argument", text)
	}
	return r, nil
}

const allCapabilities = "ALL"

// canonicalCapability returns the name of a capability in upper case, without CAP_.
func canonicalCapability(name string) string {
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_")
}
