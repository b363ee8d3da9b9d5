// Package policy decides which user may have an engine do what, by a file with a JSON object on each line.
package policy

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"

	"palisade/internal/action"
)

// Policy is a line of the file.
type Policy struct {
	// Name is for messages and the audit; Line is the line's number, from 1.
	Name string
	Line int
	// Users are names, literally; "" is everybody. Groups are values of O or OU in the certificate.
	Users, Groups []string
	// Patterns are regular expressions that are looked for in the names of actions; "" grants all.
	Patterns []string
	// ReadOnly refuses actions that change something.
	ReadOnly bool
	// Exact has the patterns match whole names.
	Exact bool
	// Message is shown to who is refused, in place of the reason.
	Message string
	// Deny lists what containers must not get, though their actions are granted.
	Deny []string

	rules      []rule
	granted    []bool // by action.ID
	grantsRest bool   // a pattern matches all, so that even actions are granted that are not known
	matches    []int  // how many known actions each pattern matches
}

// Set is what a file says. It does not change.
type Set struct {
	Policies []*Policy
	byUser   map[string]*Policy
	byGroup  map[string]*Policy
	sum      [sha256.Size]byte
}

// Equal tells whether two sets are of the same text.
func (s *Set) Equal(other *Set) bool { return s.sum == other.sum }

// Reason is why a decision is what it is.
type Reason int

// The reasons. Only Granted allows.
const (
	Granted Reason = iota
	NoPolicy
	NotGranted
	NotRead
	Unknown
	Forbidden
	NoBody
)

// Decision is what the policies say of a request.
type Decision struct {
	Allow  bool
	Reason Reason
	// Policy is the one that decided; nil if none lists the user.
	Policy *Policy
	// Detail is what is forbidden.
	Detail string
}

// Decide tells whether a user, whose certificate has the groups, may do that. The first policy that lists the user or one
// of the groups decides.
func (s *Set) Decide(user string, groups []string, a action.Action) Decision {
	p := s.policyOf(user, groups)
	if p == nil {
		return Decision{Reason: NoPolicy}
	}
	reason := p.reason(a)
	return Decision{Allow: reason == Granted, Reason: reason, Policy: p}
}

// reason is why the policy grants an action or does not.
func (p *Policy) reason(a action.Action) Reason {
	switch {
	case a.ID == action.None && !p.grantsRest:
		return Unknown
	case a.ID != action.None && !p.granted[a.ID]:
		return NotGranted
	case p.ReadOnly && a.Write:
		return NotRead
	}
	return Granted
}

func (p *Policy) permits(a action.Action) bool { return p.reason(a) == Granted }

func (s *Set) policyOf(user string, groups []string) *Policy {
	first := s.byUser[""]
	consider := func(p *Policy) {
		if p != nil && (first == nil || p.Line < first.Line) {
			first = p
		}
	}
	if user != "" {
		consider(s.byUser[user])
	}
	for _, group := range groups {
		consider(s.byGroup[group])
	}
	return first
}

// Explain is the decision in words, for the user and the audit.
func (d Decision) Explain(user string, a action.Action) string {
	name, who := fmt.Sprintf("%q", a.Name), fmt.Sprintf("user %q", user)
	if a.Name == "" {
		name = "an unknown request"
	}
	if user == "" {
		who = "a user without a name"
	}
	switch d.Reason {
	case NoPolicy:
		return fmt.Sprintf("%s is listed in no policy", who)
	case NotGranted:
		return fmt.Sprintf("policy %q does not grant %s to %s", d.Policy.Name, name, who)
	case NotRead:
		return fmt.Sprintf("policy %q is read-only, and %s is no read", d.Policy.Name, name)
	case Forbidden:
		return fmt.Sprintf("policy %q denies some of %s: %s", d.Policy.Name, name, d.Detail)
	case NoBody:
		return fmt.Sprintf("policy %q looks into the body of %s, and it did not arrive", d.Policy.Name, name)
	case Unknown:
		return fmt.Sprintf("%s is granted by a policy for all actions alone, and policy %q is none", name, d.Policy.Name)
	}
	return fmt.Sprintf("policy %q grants %s to %s", d.Policy.Name, name, who)
}

// matchAll are the patterns that grant even actions that are not known.
var matchAll = []string{"", ".*", "^.*$"}

// compile finds out which actions the patterns grant.
func (p *Policy) compile() error {
	if err := p.compileRules(); err != nil {
		return err
	}
	names := action.Names()
	p.granted, p.matches = make([]bool, len(names)), make([]int, len(p.Patterns))
	for i, pattern := range p.Patterns {
		if pattern == "*" {
			return fmt.Errorf(`the action "*" is no regular expression; write "" to grant all actions`)
		}
		if slices.Contains(matchAll, pattern) {
			p.grantsRest = true
			pattern = ".*"
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return fmt.Errorf("the action %q is no regular expression: %w", pattern, err)
		}
		if p.Exact {
			expression = regexp.MustCompile(`^(?:` + pattern + `)$`)
		}
		for id, name := range names {
			if expression.MatchString(name) {
				p.granted[id] = true
				p.matches[i]++
			}
		}
	}
	return nil
}
