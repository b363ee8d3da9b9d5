// Package migrate writes policies from the settings of other programs that restrict Docker's API.
//
// Reading order: migrate, haproxy, regexps.
package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"palisade/internal/authz/action"
)

// The programs whose configuration is known.
const (
	Tecnativa   = "tecnativa"   // Tecnativa/docker-socket-proxy
	LinuxServer = "linuxserver" // linuxserver/docker-socket-proxy
)

// Setting is a variable of the environment, or an option of the command line as -NAME.
type Setting struct{ Name, Value string }

var nameText = regexp.MustCompile(`^(-{1,2}[a-zA-Z]+|[a-zA-Z_][a-zA-Z0-9_]*)$`)

// Parse parses settings, one on a line: those of docker's --env-file, and of the lists and maps
// "environment" and "command" of a compose file.
func Parse(text string) (settings []Setting) {
	for line := range strings.Lines(text) {
		line = unquote(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "- ")))
		if strings.HasPrefix(line, "#") {
			continue
		}
		separator := "="
		if i := strings.IndexAny(line, "=:"); i >= 0 {
			separator = line[i : i+1]
		}
		name, value, found := strings.Cut(line, separator)
		name = strings.TrimSpace(name)
		if !found || !nameText.MatchString(name) {
			continue
		}
		settings = append(settings, Setting{name, unquote(strings.TrimSpace(value))})
	}
	return settings
}

func unquote(text string) string {
	for _, quote := range []string{`"`, `'`} {
		if len(text) >= 2 && strings.HasPrefix(text, quote) && strings.HasSuffix(text, quote) {
			return text[1 : len(text)-1]
		}
	}
	return text
}

// proxy decides requests as another program does.
type proxy interface {
	// verdict reports whether the program allows the requests that match a route. A warning explains
	// why this is not exact.
	verdict(method, pattern string) (allowed bool, warning string)
	// warnings are about settings without an equivalent in policies.
	warnings() []string
	// deny are the rules of the policy.
	deny() []string
}

type policyLine struct {
	Name    string   `json:"name"`
	Users   []string `json:"users"`
	Actions []string `json:"actions"`
	Exact   bool     `json:"exact"`
	Deny    []string `json:"deny,omitempty"`
}

// SocketProxy returns a policy of a user that allows what a socket proxy with these settings does,
// and warnings about differences. The image is Tecnativa or LinuxServer; options and variables of
// wollomatic/socket-proxy are known by their names.
func SocketProxy(user, image string, settings []Setting) (
	text []byte, warnings []string, err error,
) {
	byName := make(map[string]string)
	for _, s := range settings {
		byName[s.Name] = s.Value
	}
	var p proxy
	switch regexps, err := newRegexps(settings); {
	case err != nil:
		return nil, nil, err
	case regexps != nil:
		p = regexps
	case !slices.ContainsFunc(variables(), func(name string) bool { return has(byName, name) }):
		return nil, nil, errors.New("no variable of a socket proxy, such as CONTAINERS or " +
			"SP_ALLOW_GET, and no option such as -allowGET")
	default:
		p = newHAProxy(image, byName)
	}
	allowed, denied := make(map[string]bool), make(map[string]bool)
	warnings = p.warnings()
	for _, r := range action.DockerRoutes() {
		ok, warning := p.verdict(r.Method, r.Path)
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("%s: %s", r.Action.Name, warning))
		}
		if ok {
			allowed[r.Action.Name] = true
		} else {
			denied[r.Action.Name] = true
		}
	}
	names := slices.Sorted(maps.Keys(allowed))
	for _, name := range names {
		if denied[name] {
			warnings = append(warnings,
				fmt.Sprintf("%s: the proxy allows only some of its requests, the policy all", name))
		}
	}
	if len(names) == 0 {
		return nil, warnings, errors.New("the socket proxy allows no known request")
	}
	text, err = json.Marshal(policyLine{
		Name: "socket-proxy", Users: []string{user}, Actions: names, Exact: true, Deny: p.deny(),
	})
	return append(text, '\n'), warnings, err
}

func has(settings map[string]string, name string) bool {
	_, ok := settings[name]
	return ok
}

var variable = regexp.MustCompile(`\{[^}]*\}`)

// sample returns a path that matches the pattern of a route, with a value for all variables.
func sample(pattern, value string) string {
	return variable.ReplaceAllLiteralString(pattern, value)
}
