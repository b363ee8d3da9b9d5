package policy

import (
	"errors"
	"slices"
	"strings"
)

// Violations maps each rule that would deny the request to what it forbids there. A request that
// could bypass rules violates all.
func (r Request) Violations() map[string]string {
	violations := make(map[string]string)
	for _, kind := range ruleKinds {
		p := Policy{rules: []rule{{kind: kind}}}
		switch reason, detail := p.examine(r); reason {
		case Granted:
		case NoBody:
			violations[kind] = "the body is missing"
		default:
			violations[kind] = strings.TrimPrefix(detail, `"`+kind+`": `)
		}
	}
	return violations
}

// IsOwn reports whether the request affects no containers of other clients.
func (r Request) IsOwn(id Identity) bool {
	if r.owners == nil {
		return false
	}
	_, err := own(id.Owner(), r)
	var why refusal
	return err == nil || errors.As(err, &why) && why.isAbsent
}

// RuleKinds returns the kinds of rules in a "deny" list.
func RuleKinds() []string { return slices.Clone(ruleKinds) }
