package action

// The actions that iSulad requests by name. container_archive copies in both directions and
// container_export writes a file on the server, so neither is a read; login and logout change the
// credentials that the server stores.
var (
	isuladReads = []string{
		"container_inspect", "container_list", "container_stats", "container_top", "container_wait",
		"docker_events", "container_logs", "docker_version", "docker_info", "image_list",
		"image_inspect", "image_search", "volume_list", "network_inspect", "network_list",
	}
	isuladWrites = []string{
		"container_create", "container_start", "container_stop", "container_restart",
		"container_kill", "container_delete", "container_pause", "container_unpause",
		"container_rename", "container_resize", "container_update", "container_export",
		"container_exec_create", "container_attach", "container_archive", "image_delete",
		"image_tag", "image_import", "image_load", "login", "logout", "pull", "volume_remove",
		"volume_prune", "network_create", "network_remove",
	}
)
