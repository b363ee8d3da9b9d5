package nri

import (
	"errors"
	"fmt"

	"github.com/containerd/nri/pkg/api"
)

// Annotations of pods, "true" or "false", which take precedence over the other rules.
const (
	procAnnotation   = "palisade.proc"
	strictAnnotation = "palisade.strict"
)

// Rules select the pods whose containers get the files of lxcfs.
type Rules struct {
	// Labels are labels of pods, as "KEY=VALUE", Namespaces namespaces of Kubernetes, with true for
	// pods that get the files. Labels take precedence; of several labels, false.
	Labels, Namespaces map[string]bool
	// Default is for the other pods.
	Default bool
	// Strict is set if a container must not start without the files.
	Strict bool
}

// plan is what a pod's containers get.
type plan struct {
	// proc is set if they get the files of lxcfs, reason is the rule that decides it.
	proc   bool
	reason string
	// strict is set if they must not start without.
	strict bool
}

// Reasons of plans.
const (
	byAnnotation = "annotation"
	byLabel      = "label"
	byNamespace  = "namespace"
	byDefault    = "default"
)

// plan returns the plan for a pod. An error names the annotations that are invalid, and do not
// count.
func (r *Rules) plan(pod *api.PodSandbox) (plan, error) {
	p := plan{strict: r.Strict}
	p.proc, p.reason = r.decide(pod)
	proc, isSet, procErr := annotation(pod, procAnnotation)
	if isSet {
		p.proc, p.reason = proc, byAnnotation
	}
	strict, isSet, strictErr := annotation(pod, strictAnnotation)
	if isSet {
		p.strict = strict
	}
	return p, errors.Join(procErr, strictErr)
}

// decide applies the rules other than annotations.
func (r *Rules) decide(pod *api.PodSandbox) (proc bool, reason string) {
	proc, reason = r.Default, byDefault
	if on, ok := r.Namespaces[pod.GetNamespace()]; ok {
		proc, reason = on, byNamespace
	}
	for key, value := range pod.GetLabels() {
		if on, ok := r.Labels[key+"="+value]; ok && (reason != byLabel || !on) {
			proc, reason = on, byLabel
		}
	}
	return proc, reason
}

func annotation(pod *api.PodSandbox, name string) (value, isSet bool, err error) {
	text, ok := pod.GetAnnotations()[name]
	switch {
	case !ok:
		return false, false, nil
	case text == "true", text == "false":
		return text == "true", true, nil
	}
	return false, false, fmt.Errorf("annotation %s is %q, want true or false", name, text)
}
