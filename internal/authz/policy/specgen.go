package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"palisade/internal/authz/strictjson"
)

// fieldCheck finds what rules forbid in a field of a body of libpod.
type fieldCheck struct {
	rules     string // the kinds of the rules, separated by spaces
	violation func(rule, json.RawMessage) string
}

// isPresent forbids all values but emptyJSON.
func isPresent(rule, json.RawMessage) string { return "is set" }

// emptyJSON are the values of fields that are not set.
var emptyJSON = []string{"null", "false", "0", `""`, "[]", "{}"}

// libpodFields are the fields of the bodies of container_create, pod_create and container_update of
// Podman 4.3 to 6.0 (SpecGenerator, PodSpecGenerator, UpdateEntities) that no rule concerns.
var libpodFields = fieldSet(`
	name command entrypoint httpproxy env terminal stdin labels stop_signal stop_timeout timeout
	image_os image_arch image_variant restart_policy restart_tries systemd namespace hostname
	sdnotifymode hostusers remove removeimage containercreatecommand dependencycontainers
	secret_env secrets init_container_type personality envmerge unsetenv unsetenvall
	manage_password passwd_entry group_entry image_volume_mode init image_volumes artifact_volumes
	shm_size shm_size_systemd work_dir create_working_dir storage_opts volatile user groups
	cap_drop no_new_privileges read_only_filesystem read_write_tmpfs umask mask cgroup_parent
	portmappings publish_image_ports expose networks cni_networks networkorder
	use_image_resolve_conf dns_server dns_search dns_option use_image_hosts use_image_hostname
	hostadd r_limits oom_score_adj weightdevice throttlereadbpsdevice throttlewritebpsdevice
	throttlereadiopsdevice throttlewriteiopsdevice cpu_period cpu_quota healthconfig
	health_check_on_failure_action startuphealthconfig healthmaxlogcount healthmaxlogsize
	exit_policy no_infra infra_command infra_name shared_namespaces share_parent pod_create_command
	no_manage_resolv_conf no_manage_hostname no_manage_hosts cpu memory pids blockio hugepagelimits
	network rdma blkioweightdevice devicereadbps devicewritebps devicereadiops devicewriteiops
	health_max_log_size health_max_log_count health_on_failure no_healthcheck health_cmd
	health_interval health_retries health_timeout health_start_period health_startup_cmd
	health_startup_interval health_startup_retries health_startup_timeout health_startup_success`)

// libpodChecks are the fields that rules concern. Fields in neither list are refused.
var libpodChecks = map[string]fieldCheck{
	"privileged": {strings.Join(privilegedRules, " "), isPresent},

	"pidns":    {"pid", decoded(namespaceOf)},
	"ipcns":    {"ipc", decoded(namespaceOf)},
	"utsns":    {"uts", decoded(namespaceOf)},
	"netns":    {"net", decoded(namespaceOf)},
	"userns":   {"user", decoded(namespaceOf)},
	"cgroupns": {"cgroupns", decoded(namespaceOf)},
	"pod":      {"pid net ipc uts user cgroupns no-user-remap", isPresent},

	"idmappings": {"user", func(_ rule, text json.RawMessage) string { return idMapsViolation(text) }},

	"mounts": {"binds security-options", decoded(func(r rule, list []libpodMount) string {
		for i := range list {
			if what := list[i].violation(r); what != "" {
				return what
			}
		}
		return ""
	})},
	"volumes": {"binds", decoded(func(_ rule, list []libpodVolume) string {
		for _, v := range list {
			if what := namedVolumeViolation(v.Name.Value, v.Options.Value); what != "" {
				return what
			}
		}
		return ""
	})},
	"image":                 {"binds", decoded(imageOf)},
	"raw_image_name":        {"binds", decoded(imageOf)},
	"infra_image":           {"binds", decoded(imageOf)},
	"overlay_volumes":       {"binds", isPresent},
	"volumes_from":          {"binds volumes-from", isPresent},
	"rootfs":                {"binds rootfs", isPresent},
	"rootfs_overlay":        {"binds rootfs", isPresent},
	"rootfs_mapping":        {"binds rootfs", isPresent},
	"chroot_directories":    {"binds rootfs", isPresent},
	"init_path":             {"binds rootfs", isPresent},
	"conmon_pid_file":       {"binds", isPresent},
	"infra_conmon_pid_file": {"binds", isPresent},
	"log_configuration": {"binds", decoded(func(_ rule, c libpodLog) string {
		for key := range c.Options.Value {
			if foldKey(key) == "path" {
				return "has a path"
			}
		}
		if c.Path.Value != "" {
			return "has a path"
		}
		return ""
	})},
	"healthlogdestination":   {"binds", oneOf("local", "events_logger")},
	"health_log_destination": {"binds", oneOf("local", "events_logger")},
	"base_hosts_file":        {"binds", oneOf("none", "image")},
	"hostsfile":              {"binds", oneOf("none", "image")},
	"timezone": {"binds", decoded(func(_ rule, name string) string {
		if strings.HasPrefix(name, "/") || strings.Contains(name, "..") {
			return fmt.Sprintf("is %q", name)
		}
		return ""
	})},

	"devices":            {"devices", isPresent},
	"pod_devices":        {"devices", isPresent},
	"device_cgroup_rule": {"devices", isPresent},
	"devices_from":       {"devices", isPresent},
	"host_device_list":   {"devices", isPresent},
	"gpus":               {"devices", isPresent},
	"cgroups_mode":       {"devices", oneOf("enabled", "default", "no-conmon", "split")},
	"resource_limits": {"devices", decoded(func(_ rule, limits struct {
		Devices strictjson.Once[[]json.RawMessage]
	}) string {
		if len(limits.Devices.Value) > 0 {
			return "has devices"
		}
		return ""
	})},

	"cap_add": {"capabilities", decoded(func(r rule, names []string) string {
		return about("is refused:", r.addedCapability(names))
	})},

	"selinux_opts":         {"security-options", isPresent},
	"apparmor_profile":     {"security-options", isPresent},
	"seccomp_policy":       {"security-options", oneOf("default")},
	"seccomp_profile_path": {"security-options", oneOf(defaultSeccomp...)},
	"unmask":               {"security-options", isPresent},
	"procfs_opts":          {"security-options", isPresent},
	"label_nested":         {"security-options", isPresent},
	"rootfs_propagation":   {"security-options", isPresent},
	"security_opt": {"security-options", decoded(func(_ rule, options []string) string {
		return securityOptionViolation(options)
	})},
	"annotations": {strings.Join(ruleKinds, " "), decoded(func(r rule, a map[string]string) string {
		if _, ok := a[cidFile]; ok {
			return cidFileDetail
		}
		if r.kind != "security-options" && r.kind != "hooks" {
			return ""
		}
		maps.DeleteFunc(a, func(key, _ string) bool { return slices.Contains(podmanAnnotations, key) })
		return annotationViolation(a)
	})},

	"sysctl":          {"sysctls", isPresent},
	"oci_runtime":     {"runtime no-user-remap", isPresent},
	"network_options": {"net binds", isPresent}, // options of slirp4netns and pasta, with files
}

// cidFile is the annotation with a path that Podman 4.5 and later remove together with the
// container, as root: it could bypass any rule.
const cidFile = "io.podman.annotations.cid-file"

const cidFileDetail = "has a cidfile: Podman deletes that file of the host"

// podmanAnnotations are annotations that podman sends only to show them later. No runtime reads
// them.
var podmanAnnotations = []string{
	"io.kubernetes.cri-o.TTY", "io.podman.annotations.userns", "io.podman.annotations.pids-limit",
	"io.podman.annotations.cpuset", "io.podman.annotations.memory-nodes",
}

func fieldSet(names string) map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

// decoded returns a check of a value of the type T. The check refuses what cannot be decoded.
func decoded[T any](violation func(rule, T) string) func(rule, json.RawMessage) string {
	return func(r rule, text json.RawMessage) string {
		var value T
		if err := json.Unmarshal(text, &value); err != nil {
			return "cannot be parsed: " + err.Error()
		}
		return violation(r, value)
	}
}

// oneOf returns a check that permits only the given texts.
func oneOf(allowed ...string) func(rule, json.RawMessage) string {
	return decoded(func(_ rule, value string) string {
		if slices.Contains(allowed, value) {
			return ""
		}
		return fmt.Sprintf("is %q", value)
	})
}

type libpodNamespace struct {
	NSMode, Value strictjson.Once[string]
}

func namespaceOf(r rule, n libpodNamespace) string {
	return namespaceViolation(r.kind, n.NSMode.Value, n.Value.Value)
}

func imageOf(_ rule, name string) string { return imageViolation("", name) }

type libpodMount struct {
	Type, Source strictjson.Once[string]
	Options      strictjson.Once[[]string]
}

// memoryMounts are the types of mounts that show nothing of the host.
var memoryMounts = []string{"tmpfs", "ramfs", "devpts", "mqueue"}

func (m *libpodMount) violation(r rule) string {
	isMemory := slices.Contains(memoryMounts, m.Type.Value)
	switch {
	case isMemory:
		return mountOptionsViolation(m.Options.Value)
	case r.kind == "binds", m.Type.Value != "bind":
		return fmt.Sprintf("has %q of the type %q", m.Source.Value, m.Type.Value)
	}
	return ""
}

type libpodVolume struct {
	Name    strictjson.Once[string]
	Options strictjson.Once[[]string]
}

type libpodLog struct {
	Path    strictjson.Once[string]
	Options strictjson.Once[map[string]string]
}

type idMaps struct {
	UIDMap, GIDMap strictjson.Once[[]json.RawMessage]
	AutoUserNsOpts strictjson.Once[struct {
		AdditionalUIDMappings, AdditionalGIDMappings strictjson.Once[[]json.RawMessage]
	}]
}

// idMapsViolation returns why the rule "user" refuses id mappings, or "": explicit maps could map
// root to the host's root.
func idMapsViolation(text []byte) string {
	var m idMaps
	if err := json.Unmarshal(text, &m); err != nil {
		return "cannot be parsed: " + err.Error()
	}
	auto := &m.AutoUserNsOpts.Value
	count := len(m.UIDMap.Value) + len(m.GIDMap.Value) +
		len(auto.AdditionalUIDMappings.Value) + len(auto.AdditionalGIDMappings.Value)
	if count > 0 {
		return "has explicit id maps"
	}
	return ""
}

// libpodCheck returns the function that finds what the rules forbid in a body of libpod, or nil if
// no rule of the policy needs it.
func (p *Policy) libpodCheck(action string) func(Request) string {
	if action == "container_update" && !p.hasRule("devices", "binds") {
		return nil
	}
	return parsed(func(body *map[string]json.RawMessage, _ string) string {
		fields := make(map[string]json.RawMessage)
		for key, value := range *body {
			folded := foldKey(key)
			if _, ok := fields[folded]; ok {
				return fmt.Sprintf("duplicate key %q", key)
			}
			fields[folded] = value
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if what := p.fieldViolation(key, fields[key]); what != "" {
				return what
			}
		}
		if action == "container_update" || !p.hasRule("no-user-remap") {
			return ""
		}
		return rule{kind: "no-user-remap"}.violatedBy(libpodRemapViolation(fields))
	})
}

func (p *Policy) fieldViolation(key string, value json.RawMessage) string {
	check, ok := libpodChecks[key]
	switch {
	case slices.Contains(emptyJSON, string(value)):
		return ""
	case ok:
		return p.violatedBy(check.rules, func(r rule) string {
			return about(key, check.violation(r, value))
		})
	case !libpodFields[key]:
		return fmt.Sprintf("the field %q is unknown", key)
	}
	return ""
}

// libpodRemapViolation returns why a container or pod would not get ids of its own, by
// --userns=auto or the annotation for userns-shift, or "".
func libpodRemapViolation(fields map[string]json.RawMessage) string {
	var userns libpodNamespace
	var annotations map[string]string
	var idMaps string
	for key, value := range map[string]any{"userns": &userns, "annotations": &annotations} {
		if text, ok := fields[key]; ok {
			if err := json.Unmarshal(text, value); err != nil {
				return err.Error()
			}
		}
	}
	if text, ok := fields["idmappings"]; ok {
		idMaps = idMapsViolation(text)
	}
	isAuto := userns.NSMode.Value == "auto" && !mapsIDs(userns.Value.Value) && idMaps == ""
	switch remap := annotations[remapAnnotation]; {
	case isAuto:
		return ""
	case remap == "":
		return fmt.Sprintf("the annotation %q is missing, and the user namespace is not auto",
			remapAnnotation)
	default:
		return remapEffect(remap)
	}
}
