// Package policy decides which user may have an engine do what, by a file with a JSON object on each line.
package policy

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"

	"palisade/internal/authz/action"
)

// Policy is a line of the file.
type Policy struct {
	// Name is for messages and the audit; Line is the line's number, from 1.
	Name string
	Line int
	// Users are names, literally; "" is everybody. Groups are values of O or OU in the certificate.
	Users, Groups []string
	// Local lists who asks Docker without a name and without a certificate: at its unix socket.
	Local bool
	// Patterns are regular expressions that are looked for in the names of actions; "" grants all.
	Patterns []string
	// ReadOnly refuses all actions but reads.
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
	local    *Policy
	sum      [sha256.Size]byte
}

// Equal tells whether two sets are of the same text.
func (s *Set) Equal(other *Set) bool { return s.sum == other.sum }

// Identity is a user, as identified by the engine.
type Identity struct {
	// User is "" if the engine names no user.
	User string
	// Groups are the values of O and OU in the certificate.
	Groups []string
	// Local reports that a client without name and certificate uses Docker's unix socket.
	Local bool
}

// Request is a request of a user to an engine, see DockerRequest and ActionRequest.
type Request struct {
	action action.Action
	uri    string
	body   []byte
}

// DockerRequest returns a request to the Docker Engine's API, with the unmodified request target.
// The body is nil if the engine did not pass it on.
func DockerRequest(method, uri string, body []byte) Request {
	return Request{action.ForDocker(method, uri), uri, body}
}

// ActionRequest returns a request without a method and URI, such as iSulad's. The body may be nil.
func ActionRequest(a action.Action, body []byte) Request { return Request{action: a, body: body} }

// Action returns the action of the request.
func (r Request) Action() action.Action { return r.action }

// Reason is why a decision is what it is.
type Reason int

// The reasons. Only Granted allows.
const (
	NoPolicy Reason = iota
	NotGranted
	NotRead
	Unknown
	NoAction
	Forbidden
	NoBody
	Granted
)

// Decision is the decision about a user's request.
type Decision struct {
	User   string
	Action action.Action
	Allow  bool
	Reason Reason
	// Policy is the one that decided; nil if none lists the user.
	Policy *Policy
	// Detail is what is forbidden.
	Detail string
}

// Decide decides a request, including its body. The first policy that lists the user, one of the
// groups, or local decides.
func (s *Set) Decide(who Identity, r Request) Decision {
	d := Decision{User: who.User, Action: r.action}
	if d.Policy = s.policyOf(who); d.Policy == nil {
		return d
	}
	if d.Reason = d.Policy.reason(r); d.Reason == Granted {
		d.Reason, d.Detail = d.Policy.examine(r)
	}
	d.Allow = d.Reason == Granted
	return d
}

// reason returns Granted, or the reason why the policy does not grant the request's action.
func (p *Policy) reason(r Request) Reason {
	if r.action.Name == "" && r.uri == "" {
		return NoAction
	}
	return p.reasonOf(r.action)
}

func (p *Policy) reasonOf(a action.Action) Reason {
	switch {
	case a.ID == action.None && !p.grantsRest:
		return Unknown
	case a.ID != action.None && !p.granted[a.ID]:
		return NotGranted
	case p.ReadOnly && !a.IsRead():
		return NotRead
	}
	return Granted
}

func (p *Policy) permits(a action.Action) bool { return p.reasonOf(a) == Granted }

func (s *Set) policyOf(who Identity) *Policy {
	first := s.byUser[""]
	if who.Local {
		return earlier(first, s.local)
	}
	if who.User != "" {
		first = earlier(first, s.byUser[who.User])
	}
	for _, group := range who.Groups {
		first = earlier(first, s.byGroup[group])
	}
	return first
}

// earlier is the one that stands above the other; either may be nil.
func earlier(p, q *Policy) *Policy {
	if p == nil || q != nil && q.Line < p.Line {
		return q
	}
	return p
}

// Explain is the decision in words, for the user and the audit.
func (d Decision) Explain() string {
	name, who := fmt.Sprintf("%q", d.Action.Name), fmt.Sprintf("user %q", d.User)
	if d.Action.Name == "" {
		name = "an unknown request"
	}
	if d.User == "" {
		who = "a user without a name"
	}
	switch d.Reason {
	case NoPolicy:
		return fmt.Sprintf("%s is listed in no policy", who)
	case NotGranted:
		return fmt.Sprintf("policy %q does not grant %s to %s", d.Policy.Name, name, who)
	case NotRead:
		if d.Action.IsSecret() {
			return fmt.Sprintf("policy %q is read-only, and %s discloses secrets", d.Policy.Name, name)
		}
		return fmt.Sprintf("policy %q is read-only, and %s is no read", d.Policy.Name, name)
	case NoAction:
		return "the request names no action"
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
