// Package policy decides which requests of a user to a container engine are allowed, by the
// policies in a file.
//
// Reading order: rule, body (of requests), host (what rules forbid in a body), podman, specgen (the
// same for Podman), policy, decide, load, lint.
package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"palisade/internal/authz/action"
)

// Policy is a line of a policy file, a JSON object.
type Policy struct {
	// Name identifies the policy in messages and in the audit log.
	Name string
	// Line is the line number, from 1.
	Line int
	// Users are literal names; "" means every user.
	Users []string
	// Groups are values of O or OU in the certificate.
	Groups []string
	// UnixUsers and UnixGroups are users and groups of the host, at a unix socket of a front.
	UnixUsers, UnixGroups []string
	// Containers are names or labels, as key=value, of containers at such a socket.
	Containers []string
	// Local applies the policy to clients at Docker's unix socket, without a name and a certificate.
	Local bool
	// Patterns are regular expressions that match anywhere in the name of an action; "" grants all.
	Patterns []string
	// ReadOnly refuses all actions except reads.
	ReadOnly bool
	// Exact makes the patterns match whole names only.
	Exact bool
	// Message is shown to a user whose request is denied, instead of the reason.
	Message string
	// Deny lists the rules about what containers must not get.
	Deny []string
	// Own limits users to containers that they created through a front.
	Own bool

	rules         []rule
	granted       map[string]bool // by the names of known actions
	grantsUnknown bool            // a pattern grants all actions, even unknown ones
	matches       []int           // the number of known actions that each pattern matches
}

// Set is the policies of a file. It is immutable.
type Set struct {
	Policies []*Policy
	index    index
	sum      [sha256.Size]byte
}

// Equal reports whether two sets were parsed from the same text.
func (s *Set) Equal(other *Set) bool { return s.sum == other.sum }

// Request is a request to an engine, including its body. DockerRequest and ActionRequest make one.
type Request struct {
	engine action.Engine
	action action.Action
	// method is that of HTTP, or the full one of gRPC.
	method, uri string
	body        []byte
	owners      Owners
}

// DockerRequest returns a request to the Docker Engine's API, with the unmodified request target.
// The body is nil if the engine did not pass it on.
func DockerRequest(method, uri string, body []byte) Request {
	return Request{
		engine: action.Docker, action: action.ForDocker(method, uri),
		method: method, uri: uri, body: body,
	}
}

// ActionRequest returns a request without a method and URI, such as iSulad's. The body may be nil.
func ActionRequest(a action.Action, body []byte) Request { return Request{action: a, body: body} }

// PodmanRequest returns a request to Podman's API, with the unmodified request target.
func PodmanRequest(method, uri string, body []byte) Request {
	return Request{
		engine: action.Podman, action: action.ForPodman(method, uri),
		method: method, uri: uri, body: body,
	}
}

// PodmanAction returns a request to libpod without a method and URI. The body may be nil.
func PodmanAction(a action.Action, body []byte) Request {
	return Request{engine: action.Podman, action: a, body: body}
}

// Action returns the action of the request.
func (r Request) Action() action.Action { return r.action }

// Reason is the reason for a decision.
type Reason int

// The reasons. Only Granted allows a request.
const (
	NoPolicy   Reason = iota // no policy lists the user
	NotGranted               // the policy's patterns do not match the action
	NotRead                  // the policy is read-only, and the action is not a read
	Unknown                  // the action is unknown, and the policy does not grant all actions
	NoAction                 // the request names no action
	Forbidden                // a rule forbids what the request asks for
	NoBody                   // a rule needs the body, and the engine did not send it
	NotOwn                   // the policy grants only the user's own containers
	Granted
)

// Decision is the decision about a request.
type Decision struct {
	User   string
	Action action.Action
	Allow  bool
	Reason Reason
	// Policy is the policy that applies, or nil if none lists the user.
	Policy *Policy
	// Detail is the reason in case of Forbidden and NotOwn.
	Detail string
	// Forward replaces the request that a front sends to the engine. It may be nil.
	Forward *Forward

	notFound bool
}

// Status returns the HTTP status of a denial: 404 for a container of another owner and for one that
// does not exist, which a client must not distinguish, otherwise 403.
func (d Decision) Status() int {
	if d.notFound {
		return http.StatusNotFound
	}
	return http.StatusForbidden
}

// reason returns Granted, or why the policy does not grant the action.
func (p *Policy) reason(a action.Action) Reason {
	switch {
	case !a.Known && !p.grantsUnknown:
		return Unknown
	case a.Known && !p.granted[a.Name]:
		return NotGranted
	case p.ReadOnly && !a.IsRead():
		return NotRead
	}
	return Granted
}

func (p *Policy) permits(a action.Action) bool { return p.reason(a) == Granted }

// Explain returns the decision and its reason as a message for the user and the audit log.
func (d Decision) Explain() string {
	name, user := fmt.Sprintf("%q", d.Action.Name), fmt.Sprintf("user %q", d.User)
	if d.Action.Name == "" {
		name = "an unknown request"
	}
	if d.User == "" {
		user = "a user without a name"
	}
	switch d.Reason {
	case NoPolicy:
		return fmt.Sprintf("%s is listed in no policy", user)
	case NotGranted:
		return fmt.Sprintf("policy %q does not grant %s to %s", d.Policy.Name, name, user)
	case NotRead:
		if d.Action.IsSecret() {
			return fmt.Sprintf("policy %q is read-only, and %s discloses secrets", d.Policy.Name, name)
		}
		return fmt.Sprintf("policy %q is read-only, and %s is not a read", d.Policy.Name, name)
	case NoAction:
		return "the request names no action"
	case Forbidden:
		return fmt.Sprintf("policy %q denies %s: %s", d.Policy.Name, name, d.Detail)
	case NoBody:
		return fmt.Sprintf("policy %q has rules about the body of %s, which the engine did not send",
			d.Policy.Name, name)
	case NotOwn:
		return fmt.Sprintf("policy %q grants only the user's own containers: %s", d.Policy.Name, d.Detail)
	case Unknown:
		return fmt.Sprintf("policy %q does not grant %s: only a policy for all actions does",
			d.Policy.Name, name)
	}
	return fmt.Sprintf("policy %q grants %s to %s", d.Policy.Name, name, user)
}

// matchAll are the patterns that also grant unknown actions.
var matchAll = []string{"", ".*", "^.*$"}

// compile parses the rules and the patterns, and looks up which actions the patterns match.
func (p *Policy) compile() error {
	for _, text := range p.Deny {
		r, err := parseRule(text)
		if err != nil {
			return err
		}
		p.rules = append(p.rules, r)
	}
	p.granted, p.matches = make(map[string]bool), make([]int, len(p.Patterns))
	for i, pattern := range p.Patterns {
		if pattern == "*" {
			return errors.New(`the pattern "*" is not a regular expression; write "" to grant all actions`)
		}
		if slices.Contains(matchAll, pattern) {
			p.grantsUnknown = true
			pattern = ".*"
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return fmt.Errorf("the pattern %q is not a regular expression: %w", pattern, err)
		}
		if p.Exact {
			expression = regexp.MustCompile(`^(?:` + pattern + `)$`)
		}
		for _, name := range action.Names() {
			if expression.MatchString(name) {
				p.granted[name] = true
				p.matches[i]++
			}
		}
	}
	return nil
}

func (p *Policy) hasRule(kinds ...string) bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool { return slices.Contains(kinds, r.kind) })
}
