package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// sections are the variables that allow the paths that begin with their name in lower case; PING
// allows /_ping.
var sections = []string{
	"AUTH", "BUILD", "COMMIT", "CONFIGS", "CONTAINERS", "DISTRIBUTION", "EVENTS", "EXEC", "GRPC",
	"IMAGES", "INFO", "NETWORKS", "NODES", "PING", "PLUGINS", "SECRETS", "SERVICES", "SESSION",
	"SWARM", "SYSTEM", "TASKS", "VERSION", "VOLUMES",
}

// operations are the variables that allow operations of containers without CONTAINERS.
var operations = map[string][]string{
	"ALLOW_RESTARTS": {"stop", "restart", "kill"},
	"ALLOW_START":    {"start"},
	"ALLOW_STOP":     {"stop"},
	"ALLOW_PAUSE":    {"pause"},
	"ALLOW_UNPAUSE":  {"unpause"},
}

// gates are the variables without which an operation of a container is always denied, and methods
// are those that need a variable of their own. Older releases of Tecnativa's proxy have neither.
var (
	gates = map[string]string{
		"exec": "ALLOW_EXEC", "kill": "ALLOW_KILL", "attach": "ALLOW_ATTACH",
		"archive": "ALLOW_ARCHIVE", "export": "ALLOW_EXPORT", "logs": "ALLOW_LOGS",
	}
	methods = []string{"POST", "DELETE", "PUT", "PATCH"}
)

// defaults are the variables that are 1 unless they are set.
var defaults = []string{"EVENTS", "PING", "VERSION"}

// variables returns the names of all variables.
func variables() (names []string) {
	names = append(slices.Clone(sections), methods...)
	for name := range operations {
		names = append(names, name)
	}
	for _, name := range gates {
		names = append(names, name)
	}
	return names
}

// haproxy decides as the rules of HAProxy in docker-socket-proxy do.
type haproxy struct {
	set      map[string]string
	image    string
	hasGates bool // as in the current release of Tecnativa's proxy
}

func newHAProxy(image string, set map[string]string) *haproxy {
	return &haproxy{set: set, image: image, hasGates: image == Tecnativa}
}

var truths = []string{"1", "true", "yes", "on"}

func (p *haproxy) isSet(name string) bool {
	value, ok := p.set[name]
	if !ok {
		return slices.Contains(defaults, name)
	}
	return slices.Contains(truths, strings.ToLower(value))
}

func (p *haproxy) warnings() (warnings []string) {
	for _, name := range slices.Sorted(slices.Values(variables())) {
		value, ok := p.set[name]
		if ok && !p.isSet(name) && value != "" && value != "0" && strings.ToLower(value) != "false" {
			warnings = append(warnings, fmt.Sprintf("%s=%s is taken for 0", name, value))
		}
	}
	return warnings
}

func (p *haproxy) deny() []string { return nil }

// verdict applies the rules. For Tecnativa's proxy it warns if releases differ.
func (p *haproxy) verdict(method, pattern string) (bool, string) {
	path := sample(pattern, "x")
	allowed := p.allows(method, path, p.hasGates)
	if p.image == Tecnativa && !allowed && p.allows(method, path, false) {
		return false, "releases without " + p.missing(method, path) + " allow it: not included"
	}
	return allowed, ""
}

// missing returns the variable that would allow a request.
func (p *haproxy) missing(method, path string) string {
	if slices.Contains(methods[1:], method) && !p.isSet(method) {
		return method
	}
	return gates[operation(path)]
}

var containerPath = regexp.MustCompile(`^/containers/[a-zA-Z0-9_.-]+/([a-z]+)`)

// operation returns what a request does with a container, or "".
func operation(path string) string {
	if match := containerPath.FindStringSubmatch(path); match != nil {
		return match[1]
	}
	return ""
}

func (p *haproxy) allows(method, path string, hasGates bool) bool {
	isRead := method == "GET" || method == "HEAD"
	byMethod := isRead || p.isSet("POST")
	if hasGates {
		byMethod = isRead || slices.Contains(methods, method) && p.isSet(method)
	}
	op := operation(path)
	byOperation := false
	for name, list := range operations {
		byOperation = byOperation || p.isSet(name) && slices.Contains(list, op)
	}
	switch gate, ok := gates[op]; {
	case byOperation && p.image == LinuxServer:
		return true // before the rule about methods
	case !byMethod, hasGates && ok && !p.isSet(gate):
		return false
	case byOperation:
		return true
	}
	for _, name := range sections {
		prefix := "/" + strings.ToLower(name)
		if name == "PING" {
			prefix = "/_ping"
		}
		if p.isSet(name) && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
