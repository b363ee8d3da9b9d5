package migrate

import (
	"fmt"
	"regexp"
	"strings"
)

// regexps decides as wollomatic/socket-proxy does: by regular expressions that match the path.
type regexps struct {
	allowed map[string][]*regexp.Regexp // by method
	// words are texts in the expressions, which may be names of objects.
	words  []string
	warned []string
	denied []string
}

var wordText = regexp.MustCompile(`[a-zA-Z0-9][a-zA-Z0-9_.-]*`)

// newRegexps returns nil if no setting is one of wollomatic/socket-proxy.
func newRegexps(settings []Setting) (*regexps, error) {
	p := &regexps{allowed: make(map[string][]*regexp.Regexp)}
	isOurs := false
	fromEnv := make(map[string][]*regexp.Regexp)
	for _, s := range settings {
		method, isOption := strings.CutPrefix(strings.TrimLeft(s.Name, "-"), "allow")
		isOption = isOption && strings.HasPrefix(s.Name, "-")
		variable, isVariable := strings.CutPrefix(s.Name, "SP_ALLOW_")
		if isVariable {
			method, _, _ = strings.Cut(variable, "_")
		}
		switch name := p.name(s.Name); {
		case (isOption || isVariable) && method != "" && method == strings.ToUpper(method):
			isOurs = true
			if s.Value == "" {
				continue
			}
			e, err := regexp.Compile("^" + s.Value + "$") // as the proxy does, also for "a|b"
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			p.words = append(p.words, wordText.FindAllString(s.Value, -1)...)
			if isVariable {
				fromEnv[method] = append(fromEnv[method], e)
			} else {
				p.allowed[method] = append(p.allowed[method], e)
			}
		case name == "allowbindmountfrom" && s.Value != "":
			isOurs = true
			p.denied = []string{"binds"}
			p.warned = append(p.warned, fmt.Sprintf("bind mounts from %s only: the policy denies all, "+
				"because a symbolic link can leave a directory", s.Value))
		case name == "allowfrom":
			isOurs = true
			p.warned = append(p.warned, "addresses of clients: a front identifies clients by their "+
				"certificate or socket")
		case name == "proxycontainername":
			isOurs = true
			p.warned = append(p.warned, "labels of containers: write a policy with \"containers\" for each")
		}
	}
	for method, list := range fromEnv {
		if p.allowed[method] == nil { // options take precedence
			p.allowed[method] = list
		}
	}
	if !isOurs {
		return nil, nil
	}
	return p, nil
}

// name returns the name of an option, also for its variable, or "".
func (p *regexps) name(setting string) string {
	if variable, ok := strings.CutPrefix(setting, "SP_"); ok {
		return strings.ToLower(variable)
	}
	if strings.HasPrefix(setting, "-") {
		return strings.TrimLeft(setting, "-")
	}
	return ""
}

func (p *regexps) warnings() []string { return p.warned }

func (p *regexps) deny() []string { return p.denied }

var (
	// versions are some versions of the API, as parts of the path.
	versions = []string{"", "/v1.24", "/v1.41", "/v1.44", "/v1.51"}
	// values are arbitrary values of variables: an expression that matches all of them is assumed to
	// match any.
	values = []string{
		"x", "a-b_c.d", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	}
)

func (p *regexps) matches(method, pattern, value string) bool {
	for _, version := range versions {
		for _, e := range p.allowed[method] {
			if e.MatchString(version + sample(pattern, value)) {
				return true
			}
		}
	}
	return false
}

// verdict allows a route if the proxy allows any of values. It denies one that the proxy allows
// only for names in the expressions.
func (p *regexps) verdict(method, pattern string) (bool, string) {
	matched := 0
	for _, value := range values {
		if p.matches(method, pattern, value) {
			matched++
		}
	}
	if matched > 0 && matched < len(values) {
		return true, method + " " + pattern + " is allowed for some names only, by the policy for all"
	}
	if matched > 0 {
		return true, ""
	}
	for _, word := range p.words {
		if variable.MatchString(pattern) && p.matches(method, pattern, word) {
			return false, fmt.Sprintf("%s %s is allowed for %q only: not included", method, pattern, word)
		}
	}
	return false, ""
}
