package learn

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// hasRules reports whether rules of a policy may deny an action.
func hasRules(a action.Action) bool {
	return policy.NeedsBody(a) || a.Name == "image_build" || a.Name == "container_start"
}

// Read reads the file of a Recorder. It ignores an incomplete last line, which a crash can leave.
func Read(file string) ([]Entry, error) {
	entries, _, err := read(file)
	return entries, err
}

// read also returns the size in bytes of the complete lines.
func read(file string) (entries []Entry, size int64, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	number := 0
	for line := range bytes.Lines(text) {
		number++
		var e Entry
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return nil, 0, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		entries = append(entries, e)
	}
	return entries, int64(len(text)), nil
}

// learned is a policy, with the keys in the order of the documentation.
type learned struct {
	Name       string   `json:"name"`
	Users      []string `json:"users,omitempty"`
	UnixUsers  []string `json:"unix_users,omitempty"`
	Containers []string `json:"containers,omitempty"`
	Local      bool     `json:"local,omitempty"`
	Actions    []string `json:"actions"`
	Exact      bool     `json:"exact,omitempty"`
	ReadOnly   bool     `json:"readonly,omitempty"`
	Own        bool     `json:"own,omitempty"`
	Deny       []string `json:"deny,omitempty"`
}

// client is the client of entries.
type client struct {
	user, unixUser, container string
	local                     bool
}

func (e *Entry) client() client { return client{e.User, e.UnixUser, e.Container, e.Local} }

func (c client) String() string {
	switch {
	case c.local:
		return "the clients at the unix socket"
	case c.unixUser != "":
		return fmt.Sprintf("the unix user %q", c.unixUser)
	case c.container != "":
		return fmt.Sprintf("the container %q", c.container)
	}
	return fmt.Sprintf("the user %q", c.user)
}

// Suggest returns the text of a policy file with the smallest policies that allow what the entries
// record, and warnings about what they leave open.
func Suggest(entries []Entry) (text []byte, warnings []string, err error) {
	byClient := make(map[client][]Entry)
	var engines []action.Engine
	for _, e := range entries {
		byClient[e.client()] = append(byClient[e.client()], e)
		if !slices.Contains(engines, e.Engine) {
			engines = append(engines, e.Engine)
		}
	}
	var clients []client
	for c := range byClient {
		clients = append(clients, c)
	}
	slices.SortFunc(clients, func(a, b client) int {
		return cmp.Or(strings.Compare(a.user, b.user), strings.Compare(a.unixUser, b.unixUser),
			strings.Compare(a.container, b.container))
	})
	var policies []*learned
	byContent := make(map[string]*learned)
	for _, c := range clients {
		p, more := suggest(c, byClient[c])
		warnings = append(warnings, more...)
		if p == nil {
			continue
		}
		content, err := json.Marshal(p) // without a name and clients
		if err != nil {
			return nil, nil, err
		}
		if known := byContent[string(content)]; known != nil {
			p = known
		} else {
			byContent[string(content)] = p
			policies = append(policies, p)
			p.Name = fmt.Sprintf("learned-%d", len(policies))
		}
		p.add(c)
	}
	for _, p := range policies {
		line, err := json.Marshal(p)
		if err != nil {
			return nil, nil, err
		}
		text = append(append(text, line...), '\n')
	}
	set, err := policy.Parse("learned policies", text)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range set.Lint(engines...) {
		warnings = append(warnings, w.Text)
	}
	return text, warnings, nil
}

func (p *learned) add(c client) {
	switch {
	case c.local:
		p.Local = true
	case c.unixUser != "":
		p.UnixUsers = append(p.UnixUsers, c.unixUser)
	case c.container != "":
		p.Containers = append(p.Containers, c.container)
	default:
		p.Users = append(p.Users, c.user)
	}
}

// suggest returns the policy of a client, without a name and clients, or nil if it needs none.
func suggest(c client, entries []Entry) (p *learned, warnings []string) {
	warn := func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}
	if c == (client{}) {
		warn("clients without a name need the user \"\", which is every user: not included")
		return nil, warnings
	}
	p = &learned{Exact: true, ReadOnly: true, Own: !c.local}
	creates, hasRules := false, false
	violated := make(map[string]string)
	for _, e := range entries {
		if e.Action == "" || !slices.Contains(action.Names(), e.Action) {
			warn("%s requested %q, which only a policy for all actions allows: not included",
				c, e.Request)
			continue
		}
		p.Actions = append(p.Actions, e.Action)
		p.ReadOnly = p.ReadOnly && e.Class == "read"
		p.Own = p.Own && e.Own
		creates = creates || e.Action == "container_create"
		hasRules = hasRules || e.HasRules
		for rule, detail := range e.Violates {
			if violated[rule] == "" {
				violated[rule] = detail
			}
		}
	}
	if len(p.Actions) == 0 {
		return nil, warnings
	}
	slices.Sort(p.Actions)
	p.Actions = slices.Compact(p.Actions)
	p.Own = p.Own && creates
	if p.Own {
		warn("%s used only its own containers: with \"own\" lists show no others", c)
	}
	if !hasRules {
		return p, warnings
	}
	for _, rule := range policy.RuleKinds() {
		if detail, ok := violated[rule]; ok {
			warn("the policy of %s does not deny %q: %s", c, rule, detail)
			continue
		}
		p.Deny = append(p.Deny, rule)
	}
	return p, warnings
}
