package action

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// The actions that iSulad requests by name, and those of its CRI services. container_archive copies
// in both directions and container_export writes a file on the server, so neither is a read; login
// and logout change the credentials that the server stores.
var (
	isuladReads = []string{
		"container_inspect", "container_list", "container_stats", "container_top", "container_wait",
		"docker_events", "container_logs", "docker_version", "docker_info", "image_list",
		"image_inspect", "image_search", "volume_list", "network_inspect", "network_list",
		"cri_version", "cri_status", "cri_runtime_config", "cri_pod_sandbox_status",
		"cri_list_pod_sandbox", "cri_list_containers", "cri_container_status", "cri_container_stats",
		"cri_list_container_stats", "cri_pod_sandbox_stats", "cri_list_pod_sandbox_stats",
		"cri_get_container_events", "cri_list_metric_descriptors", "cri_list_pod_sandbox_metrics",
		"cri_list_images", "cri_image_status", "cri_image_fs_info",
	}
	isuladWrites = []string{
		"container_create", "container_start", "container_stop", "container_restart",
		"container_kill", "container_delete", "container_pause", "container_unpause",
		"container_rename", "container_resize", "container_update", "container_export",
		"container_exec_create", "container_attach", "container_archive", "image_delete",
		"image_tag", "image_import", "image_load", "login", "logout", "pull", "volume_remove",
		"volume_prune", "network_create", "network_remove",
		"cri_run_pod_sandbox", "cri_stop_pod_sandbox", "cri_remove_pod_sandbox",
		"cri_create_container", "cri_start_container", "cri_stop_container", "cri_remove_container",
		"cri_update_container_resources", "cri_reopen_container_log", "cri_exec_sync", "cri_exec",
		"cri_attach", "cri_port_forward", "cri_update_runtime_config", "cri_checkpoint_container",
		"cri_pull_image", "cri_remove_image",
	}
)

// isuladTable holds the gRPC methods of iSulad 2.1.6 (src/api/services), and the actions for which
// it asks its plug-in. It does not ask about RemoteStart, which starts a container as Start does.
//
//go:embed isulad-methods.tsv
var isuladTable string

var isuladMethods = sync.OnceValue(func() map[string]string {
	methods := make(map[string]string)
	for line := range strings.Lines(isuladTable) {
		method, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		methods["/"+method] = name
	}
	return methods
})

// criServices are the services of the Container Runtime Interface (kubernetes/cri-api).
var criServices = []string{
	"/runtime.v1.RuntimeService", "/runtime.v1.ImageService",
	"/runtime.v1alpha2.RuntimeService", "/runtime.v1alpha2.ImageService",
}

// ForIsuladMethod returns the action of a gRPC method of iSulad, such as
// /containers.ContainerService/Create. The action is unknown and has no name if iSulad has no such
// method.
func ForIsuladMethod(method string) Action {
	if name, ok := isuladMethods()[method]; ok {
		return ForIsulad(name)
	}
	slash := strings.LastIndexByte(method, '/')
	if slash > 0 && slices.Contains(criServices, method[:slash]) {
		if a := ForIsulad("cri" + snakeCase(method[slash+1:])); a.Known {
			return a
		}
	}
	return Unknown("")
}

// snakeCase returns PullImage as _pull_image.
func snakeCase(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
