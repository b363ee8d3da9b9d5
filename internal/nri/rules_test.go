package nri

import (
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
)

func TestRules(t *testing.T) {
	labels := map[string]bool{"proc=own": true, "proc=host": false, "tier=batch": true}
	namespaces := map[string]bool{"kube-system": false, "tenants": true}
	on := Rules{Labels: labels, Namespaces: namespaces, Default: true}
	off := Rules{Labels: labels, Namespaces: namespaces}
	strict := Rules{Default: true, Strict: true}
	type texts = map[string]string
	for _, tt := range []struct {
		name  string
		rules Rules
		pod   *api.PodSandbox
		want  plan
		err   string
	}{
		{"default on", on, &api.PodSandbox{Namespace: "web"}, plan{true, byDefault, false}, ""},
		{"default off", off, &api.PodSandbox{Namespace: "web"}, plan{false, byDefault, false}, ""},
		{"no pod", on, nil, plan{true, byDefault, false}, ""},
		{"namespace off", on, &api.PodSandbox{Namespace: "kube-system"},
			plan{false, byNamespace, false}, ""},
		{"namespace on", off, &api.PodSandbox{Namespace: "tenants"}, plan{true, byNamespace, false}, ""},
		{"label on before namespace", on,
			&api.PodSandbox{Namespace: "kube-system", Labels: texts{"proc": "own"}},
			plan{true, byLabel, false}, ""},
		{"label off before namespace", off,
			&api.PodSandbox{Namespace: "tenants", Labels: texts{"proc": "host"}},
			plan{false, byLabel, false}, ""},
		{"labels disagree", on, &api.PodSandbox{Labels: texts{"proc": "host", "tier": "batch"}},
			plan{false, byLabel, false}, ""},
		{"other value of a label", on, &api.PodSandbox{Labels: texts{"proc": "other"}},
			plan{true, byDefault, false}, ""},
		{"annotation on", off,
			&api.PodSandbox{Labels: texts{"proc": "host"}, Annotations: texts{procAnnotation: "true"}},
			plan{true, byAnnotation, false}, ""},
		{"annotation off", on, &api.PodSandbox{Annotations: texts{procAnnotation: "false"}},
			plan{false, byAnnotation, false}, ""},
		{"annotation invalid", on, &api.PodSandbox{Annotations: texts{procAnnotation: "yes"}},
			plan{true, byDefault, false}, `annotation palisade.proc is "yes", want true or false`},
		{"annotation empty", on, &api.PodSandbox{Annotations: texts{strictAnnotation: ""}},
			plan{true, byDefault, false}, `annotation palisade.strict is "", want true or false`},
		{"strict", strict, &api.PodSandbox{}, plan{true, byDefault, true}, ""},
		{"lenient by annotation", strict, &api.PodSandbox{Annotations: texts{strictAnnotation: "false"}},
			plan{true, byDefault, false}, ""},
		{"strict by annotation", on, &api.PodSandbox{Annotations: texts{strictAnnotation: "true"}},
			plan{true, byDefault, true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // labels are in a map
				got, err := tt.rules.plan(tt.pod)
				if got != tt.want {
					t.Fatalf("got %+v, want %+v", got, tt.want)
				}
				if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
			}
		})
	}
}
