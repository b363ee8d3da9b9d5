// Package learn records what clients request, and writes policies that allow exactly that.
//
// Reading order: record, suggest.
package learn

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

// Entry is a kind of request of a client, a line of JSON in the file of a Recorder.
type Entry struct {
	Engine action.Engine `json:"engine"`
	// User, UnixUser and Container name the client; Local is a client without a name. At most one is
	// set.
	User      string `json:"user,omitempty"`
	UnixUser  string `json:"unix_user,omitempty"`
	Container string `json:"container,omitempty"`
	Local     bool   `json:"local,omitempty"`
	// Groups are those of the client, for information.
	Groups []string `json:"groups,omitempty"`
	// Action is empty if no route of the engine matches the request.
	Action string `json:"action,omitempty"`
	Class  string `json:"class"`
	// Request is the method and the path of the first request of this kind.
	Request string `json:"request,omitempty"`
	// HasRules reports that rules of a policy may deny such a request.
	HasRules bool `json:"rules,omitempty"`
	// Violates maps the rules that would deny the request to what they forbid in it.
	Violates map[string]string `json:"violates,omitempty"`
	// Own reports that the request is limited to containers that the client created.
	Own bool `json:"own,omitempty"`
}

// key identifies the kind of request. It leaves out the examples.
func (e *Entry) key() string {
	k := *e
	k.Request, k.Groups, k.Violates = "", nil, nil
	text, _ := json.Marshal(struct { // strings can always be marshalled
		Entry
		Rules []string
	}{k, slices.Sorted(maps.Keys(e.Violates))})
	return string(text)
}

// newEntry describes a request.
func newEntry(asked broker.Asked, r *audit.Record) Entry {
	a := asked.Action()
	path, _, _ := strings.Cut(r.URI, "?")
	e := Entry{
		Engine: r.Engine, User: asked.User, UnixUser: asked.UnixUser, Local: asked.Local,
		Groups: slices.Concat(asked.Groups, asked.UnixGroups),
		Action: a.Name, Class: a.Class(), Request: truncate(strings.TrimSpace(r.Method + " " + path)),
		HasRules: hasRules(a) || policy.IsuladNeedsMessage(r.Method), Own: asked.IsOwn(asked.Identity),
	}
	if asked.Container != nil {
		e.Container = asked.Container.Name
	}
	if e.HasRules {
		e.Violates = asked.Violations()
		for rule, detail := range e.Violates {
			e.Violates[rule] = truncate(detail)
		}
	}
	return e
}

// maxText is the size limit in bytes of a text that a client chooses.
const maxText = 256

func truncate(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "..."
}

// maxEntries is the number of kinds of requests that a Recorder writes.
const maxEntries = 100_000

// Recorder appends each kind of request to a file once.
type Recorder struct {
	log *slog.Logger

	mu   sync.Mutex
	file *os.File
	seen map[string]bool
}

// Open opens or creates a file, which only its owner can read.
func Open(file string, log *slog.Logger) (*Recorder, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	entries, size, err := read(file)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &Recorder{log: log, file: f, seen: make(map[string]bool)}
	for i := range entries {
		r.seen[entries[i].key()] = true
	}
	return r, nil
}

// Close closes the file.
func (r *Recorder) Close() error { return r.file.Close() }

// Add records a request, whatever the decision. It is a broker.Decider's Learn.
func (r *Recorder) Add(asked broker.Asked, record *audit.Record) {
	e := newEntry(asked, record)
	key := e.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[key] {
		return
	}
	if len(r.seen) >= maxEntries {
		r.log.Error("request not recorded: too many entries", "limit", maxEntries)
		return
	}
	text, err := json.Marshal(e)
	if err == nil {
		_, err = r.file.Write(append(text, '\n'))
	}
	if err != nil {
		r.log.Error("request not recorded", "err", err)
		return
	}
	r.seen[key] = true
}
