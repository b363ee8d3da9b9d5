package policy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"palisade/internal/linux/sys"
)

// DefaultFile is the path of the policy file if no option names another.
const DefaultFile = "/var/lib/authz-broker/policy.json"

// maxFile is the size limit of a policy file in bytes.
const maxFile = 64 << 20

// Load reads a policy file. The error joins the first mistake of each line, as file:line: mistake.
// It wraps sys.ErrBeingWritten if a process has the file open for writing.
func Load(file string) (*Set, error) {
	text, err := sys.ReadWithLease(file, maxFile)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

// defaultText is the policy file of the packages: it grants everything at Docker's unix socket, and
// nothing elsewhere.
//
//go:embed default.json
var defaultText []byte

// IsDefault reports whether the policies are the unchanged file of the packages.
func (s *Set) IsDefault() bool { return s.sum == sha256.Sum256(defaultText) }

// IsWritableByOthers reports whether a file's mode lets others than its owner write it.
func IsWritableByOthers(file string) (bool, error) {
	info, err := os.Stat(file)
	return err == nil && info.Mode().Perm()&0o022 != 0, err
}

// Parse parses the text of a policy file, whose name is used in errors.
func Parse(file string, text []byte) (*Set, error) {
	s := &Set{index: newIndex(), sum: sha256.Sum256(text)}
	var mistakes []error
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		p, err := parseLine(line)
		if err == nil {
			p.Line = number
			err = s.add(p)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s:%d: %w", file, number, err))
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return s, nil
}

func (s *Set) add(p *Policy) error {
	if err := p.compile(); err != nil {
		return err
	}
	for _, list := range []struct {
		kind  string
		names []string
		known map[string]*Policy
	}{
		{"user", p.Users, s.index.users},
		{"group", p.Groups, s.index.groups},
		{"unix user", p.UnixUsers, s.index.unixUsers},
		{"unix group", p.UnixGroups, s.index.unixGroups},
		{"container", p.Containers, s.index.containers},
	} {
		for _, name := range list.names {
			if other := list.known[name]; other != nil {
				return fmt.Errorf("%s %q is already listed in line %d", list.kind, name, other.Line)
			}
			list.known[name] = p
		}
	}
	if p.Local {
		if s.index.local != nil {
			return fmt.Errorf("local is already listed in line %d", s.index.local.Line)
		}
		s.index.local = p
	}
	s.Policies = append(s.Policies, p)
	return nil
}

// parseLine parses the policy on a line. encoding/json alone would accept keys in any case, and
// duplicate ones.
func parseLine(line []byte) (*Policy, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("a policy is a JSON object on one line" + suffix(err))
	}
	p := new(Policy)
	fields := map[string]any{
		"name": &p.Name, "users": &p.Users, "groups": &p.Groups, "local": &p.Local,
		"unix_users": &p.UnixUsers, "unix_groups": &p.UnixGroups, "containers": &p.Containers,
		"actions": &p.Patterns, "readonly": &p.ReadOnly, "exact": &p.Exact, "message": &p.Message,
		"deny": &p.Deny, "own": &p.Own,
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("invalid JSON" + suffix(err))
		}
		key, _ := t.(string)
		field, ok := fields[key]
		switch {
		case !ok:
			return nil, fmt.Errorf("unknown key %q; want name, users, groups, local, "+
				"unix_users, unix_groups, containers, actions, readonly, exact, message, deny, own", key)
		case seen[key]:
			return nil, fmt.Errorf("duplicate key %q", key)
		}
		seen[key] = true
		var text json.RawMessage
		var value any
		if err := d.Decode(&text); err != nil || json.Unmarshal(text, &value) != nil {
			return nil, errors.New("invalid JSON" + suffix(err))
		}
		if want, ok := set(field, value); !ok {
			return nil, fmt.Errorf("%q is %s, want %s", key, text, want)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("invalid JSON" + suffix(err))
	}
	if rest := strings.TrimSpace(string(line[d.InputOffset():])); rest != "" {
		return nil, fmt.Errorf("unexpected %q after the policy", rest)
	}
	named := slices.Concat(p.UnixUsers, p.UnixGroups, p.Containers)
	switch {
	case len(p.Users)+len(p.Groups)+len(named) == 0 && !p.Local:
		return nil, errors.New("the policy has no clients: want users, groups, unix_users, " +
			`unix_groups, containers or local; "users":[""] means every user`)
	case slices.Contains(p.Groups, ""):
		return nil, errors.New(`a group has no name; "users":[""] means every user`)
	case slices.Contains(named, ""):
		return nil, errors.New(`a unix user, unix group or container has no name; ` +
			`"users":[""] means every user`)
	case !seen["actions"]:
		return nil, errors.New(`the key "actions" is missing; "actions":[""] grants all`)
	}
	return p, nil
}

// set sets a field to a value of its type, and returns what is wanted. It rejects null, also in a
// list, which encoding/json would ignore.
func set(field, value any) (want string, ok bool) {
	switch field := field.(type) {
	case *bool:
		*field, ok = value.(bool)
		return "true or false", ok
	case *[]string:
		list, ok := value.([]any)
		for _, item := range list {
			text, isString := item.(string)
			*field, ok = append(*field, text), ok && isString
		}
		return "a list of strings", ok
	case *string:
		*field, ok = value.(string)
	}
	return "a string", ok
}

// suffix returns an error as the end of a message. The end of the line is no cause.
func suffix(err error) string {
	if err == nil || err == io.EOF {
		return ""
	}
	return ": " + err.Error()
}
