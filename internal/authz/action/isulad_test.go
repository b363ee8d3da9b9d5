package action

import (
	"slices"
	"strings"
	"testing"
)

func TestForIsuladMethod(t *testing.T) {
	for method, want := range map[string]string{
		"/containers.ContainerService/Create":                "container_create",
		"/containers.ContainerService/RemoteStart":           "container_start",
		"/containers.ContainerService/CopyFromContainer":     "container_archive",
		"/images.ImagesService/PullImage":                    "pull",
		"/runtime.v1.RuntimeService/RunPodSandbox":           "cri_run_pod_sandbox",
		"/runtime.v1.RuntimeService/ExecSync":                "cri_exec_sync",
		"/runtime.v1alpha2.RuntimeService/Version":           "cri_version",
		"/runtime.v1alpha2.ImageService/ImageFsInfo":         "cri_image_fs_info",
		"/runtime.v1.RuntimeService/New":                     "",
		"/runtime.v2.RuntimeService/Version":                 "",
		"/containers.ContainerService/create":                "",
		"containers.ContainerService/Create":                 "",
		"/containers.ContainerService/Create/":               "",
		"//containers.ContainerService/Create":               "",
		"/grpc.reflection.v1.ServerReflection/ServerReflect": "",
		"": "", "/": "", "/x": "",
	} {
		if a := ForIsuladMethod(method); a.Name != want || a.Known != (want != "") {
			t.Errorf("%s is %+v, want %q", method, a, want)
		}
	}
}

// TestIsuladMethods makes sure that each action of iSulad has a method, and each method an action.
func TestIsuladMethods(t *testing.T) {
	var named []string
	for method, name := range isuladMethods() {
		if !ForIsuladMethod(method).Known {
			t.Errorf("%s has the unknown action %q", method, name)
		}
		named = append(named, name)
	}
	for _, name := range slices.Concat(isuladReads, isuladWrites) {
		if !strings.HasPrefix(name, "cri_") && !slices.Contains(named, name) {
			t.Errorf("no method has the action %s", name)
		}
	}
}
