// Package chart tests the Helm chart and the manifest that is rendered from it. It is a module of
// its own, since Helm is large.
package chart

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the manifest")

const (
	dir      = "../../deploy/helm/palisade"
	manifest = "../../deploy/kubernetes/palisade.yaml"
)

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := yaml.UnmarshalStrict([]byte(values), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// render returns the objects, as text, in the order of helm template: by file.
func render(t *testing.T, values string) ([]string, error) {
	t.Helper()
	c := load(t)
	all, err := util.ToRenderValues(c, parse(t, values), common.ReleaseOptions{
		Name: "palisade", Namespace: "kube-system", Revision: 1, IsInstall: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var objects []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for object := range strings.SplitSeq(files[name], "\n---\n") {
			if object = strings.TrimSpace(object); object != "" {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}

// types are the types of objects that the chart may have.
var types = map[string]func() any{
	"v1/ConfigMap":      func() any { return new(core.ConfigMap) },
	"v1/Service":        func() any { return new(core.Service) },
	"v1/ServiceAccount": func() any { return new(core.ServiceAccount) },
	"apps/v1/DaemonSet": func() any { return new(apps.DaemonSet) },
	"monitoring.coreos.com/v1/PrometheusRule": func() any { return new(monitoring.PrometheusRule) },
	"monitoring.coreos.com/v1/ServiceMonitor": func() any { return new(monitoring.ServiceMonitor) },
}

// decode returns the objects by kind and name. A field that the API does not have is an error.
func decode(t *testing.T, texts []string) map[string]any {
	t.Helper()
	objects := make(map[string]any)
	for _, text := range texts {
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		newObject, ok := types[head.APIVersion+"/"+head.Kind]
		if !ok {
			t.Fatalf("unexpected object %+v", head)
		}
		object := newObject()
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Fatalf("%s: %v\n%s", head.Kind, err, text)
		}
		if head.Metadata.Namespace != "kube-system" {
			t.Errorf("%s is in the namespace %q", head.Kind, head.Metadata.Namespace)
		}
		objects[head.Kind+" "+head.Metadata.Name] = object
	}
	return objects
}

// everything sets all that is off by default.
const everything = `
image: {repository: registry.example/palisade-nri, tag: "1.2", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
selection:
  default: false
  onLabels: [proc=own, "example.com/x="]
  offLabels: [proc=host]
  onNamespaces: [web]
  offNamespaces: []
strict: true
sockets: [/var/run/nri/nri.sock, /run/other/nri.sock]
pluginIndex: "05"
log: {level: debug, format: json}
extraArgs: [--plugin-name=x]
metrics: {address: "[::]", port: 9999}
serviceMonitor: {enabled: true, interval: 1m, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboard: {enabled: true}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}
podAnnotations: {example.com/a: b}
podLabels: {example.com/c: d}
`

// TestLint runs helm lint.
func TestLint(t *testing.T) {
	for _, values := range []string{"", everything} {
		for _, m := range lint.RunAll(dir, parse(t, values), "kube-system").Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", m.Path, m.Err)
			}
		}
	}
}

// TestManifest compares deploy/kubernetes/palisade.yaml with the chart's default.
func TestManifest(t *testing.T) {
	objects, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	decode(t, objects)
	text := "# Rendered from deploy/helm/palisade with its default values: " +
		"go -C test/chart test -update ./...\n" + strings.Join(objects, "\n---\n") + "\n"
	if *update {
		if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(manifest); err != nil || string(got) != text {
		t.Errorf("%s is not what the chart renders (-update writes it), %v", manifest, err)
	}
}

func daemonSet(t *testing.T, objects map[string]any) *apps.DaemonSet {
	t.Helper()
	d, ok := objects["DaemonSet palisade-nri"].(*apps.DaemonSet)
	if !ok {
		t.Fatalf("no DaemonSet: %v", objects)
	}
	return d
}

// TestDefault checks what every node needs.
func TestDefault(t *testing.T) {
	texts, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, texts)
	if len(objects) != 2 {
		t.Errorf("%d objects, want 2", len(objects))
	}
	pod := daemonSet(t, objects).Spec.Template.Spec
	if !slices.Equal(pod.Tolerations, []core.Toleration{{Operator: core.TolerationOpExists}}) {
		t.Errorf("tolerations %v", pod.Tolerations)
	}
	if pod.PriorityClassName != "system-node-critical" {
		t.Errorf("priority class %q", pod.PriorityClassName)
	}
	c := pod.Containers[0]
	if got := c.SecurityContext; got.Privileged != nil || !*got.ReadOnlyRootFilesystem {
		t.Errorf("security context %+v", got)
	}
	if want := "localhost/palisade-nri:" + load(t).Metadata.AppVersion; c.Image != want {
		t.Errorf("image %s, want %s", c.Image, want)
	}
	if *pod.AutomountServiceAccountToken {
		t.Error("the pod has a token")
	}
}

// TestValues sets every value.
func TestValues(t *testing.T) {
	texts, err := render(t, everything)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, texts)
	d := daemonSet(t, objects)
	c := d.Spec.Template.Spec.Containers[0]
	want := []string{
		"--enter-host", "--install=/opt/palisade", "--log-level=debug", "--log-format=json",
		"--socket=/var/run/nri/nri.sock", "--socket=/run/other/nri.sock", "--plugin-index=05",
		"--default=off", "--on-label=proc=own", "--on-label=example.com/x=",
		"--off-label=proc=host", "--on-namespace=web", "--off-namespace=", "--strict",
		"--metrics=[::]:9999", "--plugin-name=x",
	}
	if !slices.Equal(c.Args, want) {
		t.Errorf("arguments %q, want %q", c.Args, want)
	}
	if c.Image != "registry.example/palisade-nri:1.2" || c.ImagePullPolicy != core.PullAlways ||
		d.Spec.Template.Spec.ImagePullSecrets[0].Name != "registry" ||
		d.Spec.Template.Labels["example.com/c"] != "d" ||
		d.Spec.Template.Annotations["example.com/a"] != "b" {
		t.Errorf("%+v", d.Spec.Template)
	}
	monitor, ok := objects["ServiceMonitor palisade-nri"].(*monitoring.ServiceMonitor)
	if !ok || monitor.Labels["release"] != "prometheus" ||
		monitor.Spec.Endpoints[0].Interval != "1m" {
		t.Fatalf("%+v", monitor)
	}
	service, ok := objects["Service palisade-nri"].(*core.Service)
	if !ok {
		t.Fatal("no Service")
	}
	for key, value := range service.Spec.Selector {
		if d.Spec.Template.Labels[key] != value {
			t.Errorf("the Service selects %s=%s, which the pods lack", key, value)
		}
	}
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[key] != value {
			t.Errorf("the ServiceMonitor selects %s=%s, which the Service lacks", key, value)
		}
	}
	if objects["PrometheusRule palisade"] == nil || objects["ConfigMap palisade-dashboard"] == nil {
		t.Errorf("objects %v", slices.Sorted(maps.Keys(objects)))
	}
}

// TestWithoutMetrics has no probes, since nothing answers them.
func TestWithoutMetrics(t *testing.T) {
	texts, err := render(t, "metrics: {enabled: false}")
	if err != nil {
		t.Fatal(err)
	}
	c := daemonSet(t, decode(t, texts)).Spec.Template.Spec.Containers[0]
	if c.LivenessProbe != nil || c.ReadinessProbe != nil || len(c.Ports) > 0 ||
		slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, "metrics") }) {
		t.Errorf("%+v", c)
	}
	_, err = render(t, "{metrics: {enabled: false}, serviceMonitor: {enabled: true}}")
	if err == nil || !strings.Contains(err.Error(), "serviceMonitor.enabled needs metrics.enabled") {
		t.Errorf("a ServiceMonitor without metrics: %v", err)
	}
}

// TestUninstall removes lxcfs from all nodes.
func TestUninstall(t *testing.T) {
	texts, err := render(t, "{uninstall: true, install: {dir: /srv/palisade}}")
	if err != nil {
		t.Fatal(err)
	}
	c := daemonSet(t, decode(t, texts)).Spec.Template.Spec.Containers[0]
	want := []string{"--enter-host", "--install=/srv/palisade", "--log-level=info",
		"--log-format=text", "uninstall", "--stay"}
	if !slices.Equal(c.Args, want) || c.LivenessProbe != nil {
		t.Errorf("arguments %q, want %q, probe %v", c.Args, want, c.LivenessProbe)
	}
}

// TestPrivileged is for nodes without systemd.
func TestPrivileged(t *testing.T) {
	texts, err := render(t, "{privileged: true, install: {dir: \"\"}}")
	if err != nil {
		t.Fatal(err)
	}
	c := daemonSet(t, decode(t, texts)).Spec.Template.Spec.Containers[0]
	s := c.SecurityContext
	if s.Privileged == nil || !*s.Privileged || s.Capabilities != nil {
		t.Errorf("%+v", s)
	}
	if strings.Contains(strings.Join(c.Args, " "), "--install") {
		t.Errorf("arguments %q", c.Args)
	}
}

// TestDigest has a digest instead of a tag.
func TestDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	texts, err := render(t, fmt.Sprintf("image: {tag: x, digest: %q}", digest))
	if err != nil {
		t.Fatal(err)
	}
	c := daemonSet(t, decode(t, texts)).Spec.Template.Spec.Containers[0]
	if want := "localhost/palisade-nri@" + digest; c.Image != want {
		t.Errorf("image %s, want %s", c.Image, want)
	}
}

// TestSchema has mistakes, which the schema refuses, and that it lists every value.
func TestSchema(t *testing.T) {
	for values, want := range map[string]string{
		"selections: {}":                         "additional properties 'selections'",
		"selection: {default: on-all}":           "/selection/default",
		"selection: {onLabels: [app]}":           "/selection/onLabels/0",
		"selection: {onNamespaces: [a/b]}":       "/selection/onNamespaces/0",
		"install: {dir: opt}":                    "/install/dir",
		"sockets: []":                            "/sockets",
		"sockets: [nri.sock]":                    "/sockets/0",
		"pluginIndex: \"5\"":                     "/pluginIndex",
		"log: {level: all}":                      "/log/level",
		"image: {digest: abc}":                   "/image/digest",
		"image: {pullPolicy: never}":             "/image/pullPolicy",
		"metrics: {port: 70000}":                 "/metrics/port",
		"serviceMonitor: {interval: soon}":       "/serviceMonitor/interval",
		"resources: {limits: {}, request: {}}":   "additional properties 'request'",
		"metrics: {enabled: \"yes\"}":            "/metrics/enabled",
		"prometheusRule: {labels: {release: 1}}": "/prometheusRule/labels/release",
	} {
		_, err := render(t, values)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", values, err, want)
		}
	}
}
