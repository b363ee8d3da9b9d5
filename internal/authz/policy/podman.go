package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/strictjson"
)

// isLibpodBody reports whether Podman parses the body of a request as libpod's, not as Docker's.
// The bodies of the other actions are the same.
func isLibpodBody(r Request) bool {
	switch r.action.Name {
	case "pod_create":
		return true
	case "container_create", "container_update":
		return r.uri == "" || action.IsLibpod(r.uri)
	}
	return false
}

// podmanCreateViolation returns what the rules forbid in the body of Docker's container_create as
// Podman interprets it, or "".
func (p *Policy) podmanCreateViolation(body *createBody, uri string) string {
	h := &body.HostConfig.Value
	if _, ok := h.Annotations.Value[cidFile]; ok || h.ContainerIDFile.Value != "" {
		return about("HostConfig", cidFileDetail)
	}
	if p.hasRule("no-user-remap") {
		// Podman 4 drops the annotation for userns-shift.
		mode := body.HostConfig.Value.UsernsMode.Value
		if kind, options, _ := strings.Cut(mode, ":"); kind != "auto" || mapsIDs(options) {
			return rule{kind: "no-user-remap"}.violatedBy(fmt.Sprintf("UsernsMode is %q, want auto", mode))
		}
	}
	for _, r := range p.rules {
		if r.kind == "no-user-remap" {
			continue
		}
		if what := r.createViolation(body, uri); what != "" {
			return r.violatedBy(what)
		}
		what := r.podmanViolation(&body.HostConfig.Value)
		if r.kind == "binds" && what == "" {
			what = about("Image", imageViolation("", body.Image.Value))
		}
		if r.kind == "binds" && what == "" {
			specs := slices.Collect(maps.Keys(body.Volumes.Value))
			what = about("Volumes", volumeSpecsViolation(specs))
		}
		if what != "" {
			return r.violatedBy(what)
		}
	}
	return ""
}

// podmanViolation returns what in a HostConfig the rule forbids for Podman only, or "".
func (r rule) podmanViolation(h *hostConfig) string {
	if n := h.namespaces()[r.kind]; n.mode != "" {
		kind, options, _ := strings.Cut(n.mode, ":")
		return about(n.field, namespaceViolation(r.kind, kind, options))
	}
	if r.kind != "binds" {
		return ""
	}
	// Podman converts mounts to options separated by commas, and parses these.
	for i := range h.Mounts.Value {
		m := &h.Mounts.Value[i]
		for _, text := range []string{
			m.Type.Value, m.Source.Value, m.Target.Value, m.Consistency.Value,
			m.VolumeOptions.Value.Subpath.Value,
		} {
			if strings.ContainsAny(text, ",\"\n\r") {
				return fmt.Sprintf("Mounts has %q, which Podman could parse as several options", text)
			}
		}
	}
	for key, value := range h.LogConfig.Value.Config.Value {
		if strings.EqualFold(key, "path") {
			return fmt.Sprintf("LogConfig has the path %q", value)
		}
	}
	return about("Binds", volumeSpecsViolation(h.Binds.Value))
}

// safeModes are the modes that select neither the host's namespace, nor that of another container or
// pod, nor one by a path, such as that of the host's init. keep-id is not safe: in containers of
// root it maps root to root.
var safeModes = []string{"", "default", "private", "shareable", "none", "auto", "nomap", "no-map"}

// sharedModes are the modes that share a namespace.
var sharedModes = []string{"host", "container", "ns", "path", "pod"}

// namespaceViolation returns why the rule of the kind refuses a mode of a namespace, or "".
func namespaceViolation(kind, mode, value string) string {
	text := mode
	if value != "" {
		text += ":" + value
	}
	isSafe := slices.Contains(safeModes, mode)
	switch {
	case kind == "net":
		// slirp4netns can connect to the host's loopback, and pasta has options that name files.
		hasOptions := value != "" && (mode == "slirp4netns" || mode == "pasta")
		isSafe = !hasOptions && !slices.Contains(sharedModes, strings.TrimSpace(mode))
	case kind == "user" && mapsIDs(value):
		isSafe = false
	}
	if isSafe {
		return ""
	}
	return fmt.Sprintf("is %q", text)
}

// mapsIDs reports whether the options of a user namespace may specify id maps.
func mapsIDs(options string) bool { return strings.Contains(options, "mapping") }

// volumeSpecsViolation returns why the rule "binds" refuses volumes in the form
// [SOURCE:]DESTINATION[:OPTIONS], or "".
func volumeSpecsViolation(specs []string) string {
	for _, spec := range slices.Sorted(slices.Values(specs)) {
		parts := strings.Split(spec, ":")
		if len(parts) == 1 {
			continue
		}
		options := strings.Split(strings.Join(parts[2:], ","), ",")
		if what := namedVolumeViolation(parts[0], options); what != "" {
			return what
		}
	}
	return ""
}

// namedVolumeViolation returns why the rule "binds" refuses a volume, or "". Options can name
// directories of the host (upperdir, workdir).
func namedVolumeViolation(name string, options []string) string {
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".") || strings.Contains(name, `\`) {
		return fmt.Sprintf("has %q", name)
	}
	for _, option := range options {
		if strings.ContainsAny(option, "=/") {
			return fmt.Sprintf("has the option %q", option)
		}
	}
	return ""
}

// mountOptionsViolation returns which option turns a mount into a bind mount, or "".
func mountOptionsViolation(options []string) string {
	for _, option := range options {
		if slices.Contains(bindOptions, strings.ToLower(strings.TrimSpace(option))) {
			return fmt.Sprintf("has the option %q", option)
		}
	}
	return ""
}

// networkBody is the body of network_create.
type networkBody struct{ Driver strictjson.Once[string] }

// networkDrivers are the drivers of networks that are not plug-ins, which are programs of the host.
var networkDrivers = []string{"", "default", "bridge", "macvlan", "ipvlan"}

func networkViolation(body *networkBody, _ string) string {
	if slices.Contains(networkDrivers, body.Driver.Value) {
		return ""
	}
	return fmt.Sprintf("the driver of the network is %q", body.Driver.Value)
}

// queryCheck finds what rules forbid in a query parameter.
type queryCheck struct {
	rules     string // the kinds of the rules, separated by spaces; "" for any policy with rules
	violation func(kind, value string) string
}

// anyValue forbids all values but emptyValues.
func anyValue(string, string) string { return "is set" }

// emptyValues are values with which options of a build are not set.
var emptyValues = []string{"", "0", "false", "[]", "{}", "null"}

// buildOptions are the options of a build that no rule concerns. Podman ignores version, session
// and buildid, which docker sends.
var buildOptions = strings.Fields(`q nocache cachefrom cacheto cachettl pull pullpolicy rm forcerm
	memory memswap cpushares cpuperiod cpuquota cpusetcpus cpusetmems cgroupparent buildargs labels
	layerlabel layers squash target platform extrahosts shmsize ulimits jobs outputformat
	omithistory identitylabel ignore registry skipunusedstages tlsverify setenv unsetenv
	unsetlabel unsetannotation dnsservers dnsoptions dnssearch dropcaps allplatforms
	excludes rusage osversion osfeature timestamp httpproxy compression compatvolumes
	networkmode nohosts retry retry-delay createdannotation inheritlabels inheritannotations
	sourcedateepoch rewritetimestamp save-stages stage-labels version session buildid`)

// buildChecks are the options of a build that rules concern. Options in neither list are refused.
var buildChecks = map[string]queryCheck{
	"isolation": {"", func(_, value string) string {
		if slices.Contains([]string{"1", "default", "oci"}, value) {
			return ""
		}
		return "is not oci"
	}},
	// The C preprocessor runs on the host as root. Its options can name commands.
	"cppflags":                {"", anyValue},
	"dockerfile":              {"binds", dockerfileViolation},
	"remote":                  {"binds", remoteViolation},
	"output":                  {"binds", outputViolation},
	"t":                       {"binds", imageViolation},
	"from":                    {"binds", imageViolation},
	"manifest":                {"binds", imageViolation},
	"volume":                  {"binds", anyValue},
	"additionalbuildcontexts": {"binds", anyValue},
	// Podman follows a symbolic link in the build context to a file of the host.
	"secrets":            {"binds", anyValue},
	"ssh":                {"binds", anyValue},
	"transientrunmounts": {"binds", anyValue},
	"rusagelogfile":      {"binds", anyValue},
	"sourcepolicy":       {"binds", anyValue},
	"devices":            {"devices", anyValue},
	"addcaps":            {"capabilities", anyValue},
	"annotations":        {"security-options hooks", anyValue}, // containers inherit them
	"labelopts":          {"security-options", anyValue},
	"securityopt":        {"security-options", anyValue},
	"seccomp": {"security-options", func(_, value string) string {
		if slices.Contains(defaultSeccomp, value) {
			return ""
		}
		return "is not the default profile"
	}},
	"apparmor": {"security-options", func(_, value string) string {
		if strings.HasPrefix(value, "containers-default-") {
			return ""
		}
		return "is not the default profile"
	}},
	"nsoptions": {"pid ipc uts user cgroupns", buildNamespaceViolation},
	"idmappingoptions": {"user", func(_, value string) string {
		return idMapsViolation([]byte(value))
	}},
}

// defaultSeccomp are the files with the default seccomp profile, which podman sends.
var defaultSeccomp = []string{"/usr/share/containers/seccomp.json", "/etc/containers/seccomp.json"}

func dockerfileViolation(_, value string) string {
	files := []string{value}
	var list []string
	if json.Unmarshal([]byte(value), &list) == nil {
		files = list
	}
	for _, file := range files {
		if path.IsAbs(file) || slices.Contains(strings.Split(file, "/"), "..") {
			return "is not in the build context"
		}
		if strings.HasSuffix(path.Clean(file), ".in") {
			return "is for the C preprocessor, which can include files of the host"
		}
	}
	return ""
}

func urlViolation(_, value string) string {
	for _, scheme := range []string{"http://", "https://", "git://"} {
		if strings.HasPrefix(value, scheme) {
			return ""
		}
	}
	return "is not a URL of http, https or git"
}

// remoteViolation refuses a directory of a git repository, after #BRANCH: in its URL. With ".." or by
// a symbolic link Podman takes any directory of the host for it.
func remoteViolation(kind, value string) string {
	if _, ref, _ := strings.Cut(value, "#"); strings.Contains(ref, ":") {
		return "has a directory, which may be one of the host"
	}
	return urlViolation(kind, value)
}

func outputViolation(_, value string) string {
	if strings.Contains(value, "=") || path.IsAbs(value) {
		return "may be a file of the host"
	}
	return ""
}

func buildNamespaceViolation(kind, value string) string {
	var namespaces []struct {
		Name, Path string
		Host       bool
	}
	if err := json.Unmarshal([]byte(value), &namespaces); err != nil {
		return "cannot be parsed: " + err.Error()
	}
	for _, n := range namespaces {
		// Builds have the host's user namespace also without the option.
		shares := n.Path != "" || n.Host && kind != "user"
		if shares && strings.EqualFold(strings.TrimSuffix(n.Name, "ns"), strings.TrimSuffix(kind, "ns")) {
			return fmt.Sprintf("has the host's %s namespace, or a path", kind)
		}
	}
	return ""
}

// importChecks concern the source of image_create and image_import, which could be a file of the
// host.
var importChecks = map[string]queryCheck{
	"url": {"binds", urlViolation},
	"fromsrc": {"binds", func(kind, value string) string {
		if value == "-" {
			return ""
		}
		return urlViolation(kind, value)
	}},
	"fromimage": {"binds", imageViolation},
	"reference": {"binds", imageViolation},
}

// transports are the prefixes of names of images that are not in a registry.
var transports = []string{
	"atomic", "containers-storage", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive",
	"ostree", "sif", "tarball",
}

func imageViolation(_, value string) string {
	if transport, _, ok := strings.Cut(value, ":"); ok && slices.Contains(transports, transport) {
		return "is not in a registry"
	}
	return ""
}

// pushChecks concern the destination of image_push, which could be a file of the host.
var pushChecks = map[string]queryCheck{"destination": {"binds", imageViolation}}

// secretChecks concern the drivers of secrets: the driver shell runs commands on the host, and the
// driver file has an option with a path.
var secretChecks = map[string]queryCheck{
	"driver": {"", func(_, value string) string {
		if value == "file" {
			return ""
		}
		return "may run commands on the host"
	}},
	"driveropts": {"", anyValue},
}

// podmanQueryViolation returns what the rules forbid in the query of a request to Podman, or "".
func (p *Policy) podmanQueryViolation(r Request) string {
	var checks map[string]queryCheck
	var others []string // nil permits all
	switch r.action.Name {
	case "image_build":
		checks, others = buildChecks, buildOptions
	case "image_create", "image_import":
		checks = importChecks
	case "image_push":
		checks = pushChecks
	case "secret_create":
		checks = secretChecks
	case "libpod_manifest_create", "libpod_manifest_update":
		if p.hasRule("binds") {
			return rule{kind: "binds"}.violatedBy("the images of a manifest could be files of the host")
		}
	}
	if checks == nil {
		return ""
	}
	_, query, _ := strings.Cut(r.uri, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "parse the query: " + err.Error()
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		check, ok := checks[foldKey(key)]
		for _, value := range values[key] {
			switch {
			case slices.Contains(emptyValues, value):
			case ok && check.rules == "":
				if what := check.violation("", value); what != "" {
					return about(key+" in the query", what)
				}
			case ok:
				if what := p.violatedBy(check.rules, func(r rule) string {
					return about(key+" in the query", check.violation(r.kind, value))
				}); what != "" {
					return what
				}
			case others != nil && !slices.Contains(others, foldKey(key)):
				return fmt.Sprintf("%q in the query is unknown", key)
			}
		}
	}
	return ""
}

// violatedBy returns the text for the first rule of the given kinds that is violated.
func (p *Policy) violatedBy(kinds string, violation func(rule) string) string {
	for _, r := range p.rules {
		if slices.Contains(strings.Fields(kinds), r.kind) {
			if what := violation(r); what != "" {
				return r.violatedBy(what)
			}
		}
	}
	return ""
}

// foldKey folds the case of a key as engines do: U+017F is an s, and U+212A a k.
func foldKey(key string) string { return strings.ToLower(strings.ToUpper(key)) }
