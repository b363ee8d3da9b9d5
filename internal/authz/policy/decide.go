package policy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/strictjson"
)

// bypassActions are actions that could get a container, or its equivalent, what a rule denies:
// their bodies are not examined, or they admit a swarm manager or a checkpoint of the user's own. A
// policy with rules does not grant them.
var bypassActions = []string{
	"service_create", "service_update", "image_build_grpc", "container_checkpoint_create",
	"plugin_create", "plugin_pull", "plugin_enable", "plugin_set", "plugin_upgrade",
	"swarm_init", "swarm_join", "swarm_update", "node_update",
	"swarm_inspect", // discloses the token with which a manager joins

	// iSulad: CRI
	"cri_run_pod_sandbox", "cri_create_container", "cri_checkpoint_container",

	// Podman: pods and units from YAML and quadlets, files and users of the host; an archive is
	// extracted into a volume through symbolic links in it, which can lead to the host
	"container_restore", "libpod_kube_apply", "libpod_kube_play", "libpod_quadlet_install",
	"libpod_local_artifact", "libpod_local_build", "libpod_local_load", "libpod_scp",
	"volume_import",
}

// minAPIMinor is the oldest version 1.x of Docker's API that rules support. Before it,
// container_start took a HostConfig, too.
const minAPIMinor = 24

// MaxBody is the size in bytes of the largest body that rules examine. Docker passes no larger one
// to a plug-in; parsing it takes up to a quarter of a second, and 160 MB of memory.
const MaxBody = 1 << 20

// Decide returns the decision about a request, including its body. The first policy that lists the
// user, one of the groups, the container, or local applies.
func (s *Set) Decide(id Identity, r Request) Decision {
	d := Decision{User: id.Name(), Action: r.action}
	switch d.Policy = s.index.lookup(id); {
	case d.Policy == nil:
	case r.action.Name == "" && r.method == "" && r.uri == "":
		d.Reason = NoAction
	default:
		if d.Reason = d.Policy.reason(r.action); d.Reason == Granted {
			d.Reason, d.Detail = d.Policy.examine(r)
		}
	}
	switch {
	case d.Policy != nil && d.Policy.Own && d.Reason == Granted:
		d.limit(id.Owner(), r)
	case r.owners != nil && r.action.Name == "container_create":
		d.Forward = labelledRequest(id.Owner(), r)
	}
	d.Allow = d.Reason == Granted
	return d
}

// NeedsBody reports whether the decision about a request, or its Forward, depends on the body,
// which r lacks.
func (s *Set) NeedsBody(id Identity, r Request) bool {
	p := s.index.lookup(id)
	isOwn := p != nil && p.Own && slices.Contains(ownedBodies, r.action.Name)
	return p != nil && p.permits(r.action) && (isOwn || NeedsBody(r.action))
}

// examine applies the rules to a request whose action the policy grants. A body that is missing
// (NoBody), or that the engine might parse differently (Forbidden), is refused if a rule needs it.
func (p *Policy) examine(r Request) (Reason, string) {
	if len(p.rules) == 0 {
		return Granted, ""
	}
	if detail := p.actionViolation(r); detail != "" {
		return Forbidden, detail
	}
	violation := p.bodyCheck(r)
	if violation == nil && r.action.Name != "container_start" {
		return Granted, ""
	}
	major, minor, ok := action.Version(r.uri)
	if ok && (major != 1 || minor < minAPIMinor) && r.engine != action.Podman {
		return Forbidden, fmt.Sprintf("API versions before 1.%d are not supported", minAPIMinor)
	}
	switch {
	case violation == nil:
		return Granted, ""
	case len(r.body) == 0:
		return NoBody, ""
	case len(r.body) > MaxBody:
		return Forbidden, fmt.Sprintf("the body is larger than %d MiB", MaxBody>>20)
	}
	if detail := violation(r); detail != "" {
		return Forbidden, detail
	}
	return Granted, ""
}

// actionViolation returns why the rules forbid an action whatever its body, or "".
func (p *Policy) actionViolation(r Request) string {
	switch name := r.action.Name; {
	case !r.action.Known:
		return "the request is unknown"
	case slices.Contains(bypassActions, name):
		return fmt.Sprintf("%q could bypass the rules", name)
	case r.engine == action.Isulad && name == "container_export":
		return "iSulad writes to any file of the host as root"
	case name == "image_build" && p.hasRule("net"):
		// Docker also accepts build options in a form in the body, which it does not pass on. With
		// Podman a Containerfile can have RUN --network=host.
		return "the network of a build cannot be examined"
	case name == "image_build" && p.hasRule("no-user-remap"):
		return "the containers of a build have no user remap"
	case r.engine == action.Podman:
		return p.podmanQueryViolation(r)
	case name == "container_start" && mayHaveQueryKey(r.uri, "checkpoint"):
		return "the content of a checkpoint cannot be examined"
	}
	return ""
}

// examinedActions are the actions whose bodies rules may need.
var examinedActions = []string{
	"container_create", "container_exec_create", "container_update", "network_create", "pod_create",
	"volume_create",
}

// NeedsBody reports whether a decision about the action may need the whole body of the request.
func NeedsBody(a action.Action) bool { return slices.Contains(examinedActions, a.Name) }

// bodyCheck returns the function that finds what the rules forbid in the body of a request, or nil
// if no rule of the policy needs the body.
func (p *Policy) bodyCheck(r Request) func(Request) string {
	switch name := r.action.Name; {
	case r.engine == action.Isulad:
		return p.isuladCheck(r.method)
	case r.engine == action.Podman && isLibpodBody(r):
		return p.libpodCheck(name)
	case name == "container_create" && r.engine == action.Podman:
		return parsed(p.podmanCreateViolation)
	case name == "network_create" && r.engine == action.Podman:
		return parsed(networkViolation)
	case name == "container_create":
		return parsed(p.createViolation)
	case name == "container_exec_create" && p.hasRule(privilegedRules...):
		return parsed(func(body *execBody, _ string) string {
			if body.Privileged.Value {
				return "Privileged is set"
			}
			return ""
		})
	case name == "container_update" && p.hasRule("devices"):
		return parsed(func(body *devices, _ string) string { return body.violation() })
	case name == "volume_create" && p.hasRule("binds"):
		return parsed(func(body *volumeBody, _ string) string {
			what := volumeViolation(body.Driver.Value, body.DriverOpts.Value)
			if what == "" {
				what = volumeViolation("", body.Options.Value)
			}
			return rule{kind: "binds"}.violatedBy(what)
		})
	}
	return nil
}

// parsed returns a function that parses the body of a request, and finds what is forbidden in it.
func parsed[T any](violation func(body *T, uri string) string) func(Request) string {
	return func(r Request) string {
		body := new(T)
		if err := strictjson.Unmarshal(r.body, body); err != nil {
			return "parse the body: " + err.Error()
		}
		return violation(body, r.uri)
	}
}

func (p *Policy) createViolation(body *createBody, uri string) string {
	for _, r := range p.rules {
		if what := r.createViolation(body, uri); what != "" {
			return r.violatedBy(what)
		}
	}
	return ""
}

// createViolation returns what in the body of Docker's container_create the rule forbids, or "".
func (r rule) createViolation(body *createBody, uri string) string {
	// Without a HostConfig the engine uses the fields at the top level.
	for _, h := range []*hostConfig{&body.HostConfig.Value, &body.hostConfig} {
		if what := r.violation(h); what != "" {
			return what
		}
	}
	switch _, ok := body.NetworkingConfig.Value.EndpointsConfig.Value["host"]; {
	case r.kind == "net" && ok:
		return "NetworkingConfig has the host's network"
	case r.kind == "no-user-remap":
		return body.HostConfig.Value.remapViolation(uri)
	}
	return ""
}

// violatedBy returns the text for what violates the rule, "" for nothing.
func (r rule) violatedBy(what string) string {
	if what == "" {
		return ""
	}
	return fmt.Sprintf("%q: %s", r.String(), what)
}

// mayHaveQueryKey reports whether the query of a request target has a key, or cannot be parsed. The
// daemon reads no form in the body of container_start.
func mayHaveQueryKey(uri, key string) bool {
	_, query, _ := strings.Cut(uri, "?")
	values, err := url.ParseQuery(query)
	return err != nil || values.Has(key)
}
