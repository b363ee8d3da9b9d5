package policy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/strictjson"
)

// around are actions that can give a container, or something like one, what a rule denies, by bodies that are not looked
// into, by a manager of a swarm that is the user's own, or by a checkpoint that is: a policy that has rules does not grant them.
var around = []string{
	"service_create", "service_update", "image_build_grpc", "container_checkpoint_create",
	"plugin_create", "plugin_pull", "plugin_enable", "plugin_set", "plugin_upgrade",
	"swarm_init", "swarm_join", "swarm_update", "node_update",
	"swarm_inspect", // it tells the token by which a manager joins
}

// oldest is the lowest version of Docker's API by which rules can judge. Before it, HostConfig came with the start, too.
const oldest = 24

// maxBody bounds a body that rules look into, in bytes: to read one takes time, within which the engine is to have its answer.
const maxBody = 512 << 10

// examine applies the policy's "deny" list to a request whose action the policy grants. It also
// refuses a missing body (NoBody), and a body that the engine might parse differently.
func (p *Policy) examine(r Request) (Reason, string) {
	if len(p.rules) == 0 {
		return Granted, ""
	}
	detail, needsBody := p.forbidden(r)
	switch {
	case detail != "":
		return Forbidden, detail
	case needsBody && len(r.body) == 0:
		return NoBody, ""
	}
	return Granted, ""
}

// judge is what decides by the body of an action, and whether a rule of the policy needs it to.
func (p *Policy) judge(a action.Action) (decide func(*Policy, string, []byte) string, needed bool) {
	switch a.Name {
	case "container_create":
		return (*Policy).forbidsCreate, true
	case "container_exec_create":
		return (*Policy).forbidsExec, p.hasRule(privilegedRules...)
	case "container_update":
		return (*Policy).forbidsUpdate, p.hasRule(ruleDevices)
	case "volume_create":
		return (*Policy).forbidsVolume, p.hasRule(ruleBinds)
	}
	return nil, false
}

// forbidden is why a request is refused, or "". needsBody tells that the body decides.
func (p *Policy) forbidden(r Request) (detail string, needsBody bool) {
	a, uri, body := r.action, r.uri, r.body
	switch {
	case a.ID == action.None:
		return "it is not known what the request does", false
	case slices.Contains(around, a.Name):
		return fmt.Sprintf("%q can do what \"deny\" lists, and is not looked into", a.Name), false
	case a.Name == "image_build" && p.hasRule(ruleNet):
		// Docker takes the options of a build from a form in the body too, which it does not pass on.
		return "the options of a build, as its network, are not looked into", false
	case a.Name == "image_build" && p.hasRule(ruleNoRemap):
		return "the containers of a build have no user remap", false
	case a.Name == "container_start" && mayName(uri, "checkpoint"):
		return "what is in a checkpoint is not known", false
	}
	decide, needsBody := p.judge(a)
	if !needsBody && a.Name != "container_start" {
		return "", false
	}
	if major, minor, ok := action.Version(uri); ok && (major != 1 || minor < oldest) {
		return fmt.Sprintf("requests of API versions before 1.%d are not looked into", oldest), false
	}
	switch {
	case !needsBody || len(body) == 0:
		return "", needsBody
	case len(body) > maxBody:
		return fmt.Sprintf("the body is larger than %d KiB", maxBody>>10), true
	}
	return decide(p, uri, body), true
}

func unreadable(err error) string { return "the body is not clear: " + err.Error() }

func (p *Policy) forbidsExec(_ string, text []byte) string {
	var body execBody
	if err := strictjson.Unmarshal(text, &body); err != nil {
		return unreadable(err)
	}
	if body.Privileged.Value {
		return "Privileged is set"
	}
	return ""
}

func (p *Policy) forbidsUpdate(_ string, text []byte) string {
	var body updateBody
	if err := strictjson.Unmarshal(text, &body); err != nil {
		return unreadable(err)
	}
	h := hostConfig{Devices: body.Devices, DeviceRequests: body.DeviceRequests, DeviceCgroupRules: body.DeviceCgroupRules}
	return h.forbidsDevices()
}

func (p *Policy) forbidsVolume(_ string, text []byte) string {
	var body volumeBody
	if err := strictjson.Unmarshal(text, &body); err != nil {
		return unreadable(err)
	}
	if what := forbidsVolume(body.Driver.Value, body.DriverOpts.Value); what != "" {
		return rule{kind: ruleBinds}.because(what)
	}
	return ""
}

func (p *Policy) forbidsCreate(uri string, text []byte) string {
	var body createBody
	if err := strictjson.Unmarshal(text, &body); err != nil {
		return unreadable(err)
	}
	for _, r := range p.rules {
		// An engine that has a HostConfig does not look for its fields at the top, one that has none does.
		for _, h := range []*hostConfig{&body.HostConfig.Value, &body.hostConfig} {
			if what := r.forbids(h); what != "" {
				return r.because(what)
			}
		}
		switch r.kind {
		case ruleNet:
			if _, ok := body.NetworkingConfig.Value.EndpointsConfig.Value["host"]; ok {
				return r.because("NetworkingConfig has the host's network")
			}
		case ruleNoRemap:
			if what := body.HostConfig.Value.forbidsNoRemap(uri); what != "" {
				return r.because(what)
			}
		}
	}
	return ""
}

func (r rule) because(what string) string { return fmt.Sprintf("%q: %s", r.String(), what) }

// mayName tells whether the query of a request's target may have a key. The start of a container takes no form in its body.
func mayName(uri, key string) bool {
	_, query, _ := strings.Cut(uri, "?")
	values, err := url.ParseQuery(query)
	return err != nil || values.Has(key)
}
