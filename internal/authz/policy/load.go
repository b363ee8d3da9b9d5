package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"palisade/internal/sys"
)

// maxFile bounds a policy file, in bytes.
const maxFile = 64 << 20

// Load reads a policy file. Of what is wrong in it, every line's first mistake is part of the error, as <file>:<line>: <what>.
// It fails with sys.ErrBeingWritten where somebody still writes the file.
func Load(file string) (*Set, error) {
	text, err := sys.ReadWithLease(file, maxFile)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

// IsOpen tells whether others than its owner can write a file.
func IsOpen(file string) (bool, error) {
	info, err := os.Stat(file)
	return err == nil && info.Mode().Perm()&0o022 != 0, err
}

// Parse makes a set of the text of a file, whose name is for messages.
func Parse(file string, text []byte) (*Set, error) {
	s := &Set{byUser: make(map[string]*Policy), byGroup: make(map[string]*Policy), sum: sha256.Sum256(text)}
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
	}{{"user", p.Users, s.byUser}, {"group", p.Groups, s.byGroup}} {
		for _, name := range list.names {
			if other := list.known[name]; other != nil {
				return fmt.Errorf("%s %q is listed in line %d already", list.kind, name, other.Line)
			}
			list.known[name] = p
		}
	}
	if p.Local {
		if s.local != nil {
			return fmt.Errorf("local is listed in line %d already", s.local.Line)
		}
		s.local = p
	}
	s.Policies = append(s.Policies, p)
	return nil
}

// parseLine reads one object. encoding/json would take keys in any case, and the last of two.
func parseLine(line []byte) (*Policy, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("a policy is a JSON object on one line" + because(err))
	}
	p := new(Policy)
	fields := map[string]any{
		"name": &p.Name, "users": &p.Users, "groups": &p.Groups, "actions": &p.Patterns, "readonly": &p.ReadOnly,
		"local": &p.Local, "exact": &p.Exact, "message": &p.Message, "deny": &p.Deny,
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("no JSON" + because(err))
		}
		key, _ := t.(string)
		field, ok := fields[key]
		switch {
		case !ok:
			return nil, fmt.Errorf("unknown key %q; a policy has name, users, groups, local, actions, readonly, exact, message, deny", key)
		case seen[key]:
			return nil, fmt.Errorf("key %q comes twice", key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("no JSON" + because(err))
		}
		if err := unmarshal(value, field); err != nil {
			return nil, fmt.Errorf("%q is %s, want %s", key, value, wanted(field))
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("no JSON" + because(err))
	}
	if rest := strings.TrimSpace(string(line[d.InputOffset():])); rest != "" {
		return nil, fmt.Errorf("%q behind the policy", rest)
	}
	switch {
	case len(p.Users)+len(p.Groups) == 0 && !p.Local:
		return nil, errors.New(`no users and no groups are listed; "users":[""] is everybody`)
	case slices.Contains(p.Groups, ""):
		return nil, errors.New(`a group has a name; "users":[""] is everybody`)
	case !seen["actions"]:
		return nil, errors.New(`the key "actions" is missing; "actions":[""] grants all`)
	}
	return p, nil
}

// unmarshal takes no null, nor one in a list, which encoding/json would leave out in silence.
func unmarshal(value json.RawMessage, field any) error {
	if list, ok := field.(*[]string); ok {
		var pointers []*string
		if err := json.Unmarshal(value, &pointers); err != nil || pointers == nil {
			return errors.New("no list")
		}
		for _, s := range pointers {
			if s == nil {
				return errors.New("null in a list")
			}
			*list = append(*list, *s)
		}
		return nil
	}
	if string(value) == "null" {
		return errors.New("null")
	}
	return json.Unmarshal(value, field)
}

func wanted(field any) string {
	switch field.(type) {
	case *[]string:
		return "a list of strings"
	case *bool:
		return "true or false"
	}
	return "a string"
}

func because(err error) string {
	if err == nil || err == io.EOF {
		return ""
	}
	return ": " + err.Error()
}
