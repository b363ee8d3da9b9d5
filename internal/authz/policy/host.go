package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/oci/idmap"
)

// violation returns what in a HostConfig the rule forbids, or "".
func (r rule) violation(h *hostConfig) string {
	if h.Privileged.Value && slices.Contains(privilegedRules, r.kind) {
		return "Privileged is set"
	}
	if n := h.namespaces()[r.kind]; sharesNamespace(n.mode) {
		return fmt.Sprintf("%s is %q", n.field, n.mode)
	}
	switch r.kind {
	case "binds", "security-options":
		// An engine that remounts /sys makes it writable.
		for _, options := range h.Tmpfs.Value {
			if what := mountOptionsViolation(strings.Split(options, ",")); what != "" {
				return about("Tmpfs", what)
			}
		}
	}
	switch r.kind {
	case "binds":
		return h.bindViolation()
	case "volumes-from":
		return isSet("VolumesFrom", len(h.VolumesFrom.Value) > 0)
	case "sysctls":
		return isSet("Sysctls", len(h.Sysctls.Value) > 0)
	case "runtime":
		return isSet("Runtime", h.Runtime.Value != "")
	case "hooks":
		return about("Annotations", annotationViolation(h.Annotations.Value))
	case "devices":
		return h.devices.violation()
	case "capabilities":
		return r.capabilityViolation(h)
	case "security-options":
		return h.securityViolation()
	}
	return ""
}

type namespace struct{ field, mode string }

// namespaces returns the modes of namespaces by the kinds of rules.
func (h *hostConfig) namespaces() map[string]namespace {
	return map[string]namespace{
		"pid":      {"PidMode", h.PidMode.Value},
		"net":      {"NetworkMode", h.NetworkMode.Value},
		"ipc":      {"IpcMode", h.IpcMode.Value},
		"uts":      {"UTSMode", h.UTSMode.Value},
		"user":     {"UsernsMode", h.UsernsMode.Value},
		"cgroupns": {"CgroupnsMode", h.CgroupnsMode.Value},
	}
}

// isSet returns the violation of a field that must not be set, or "".
func isSet(field string, set bool) string {
	if set {
		return field + " is set"
	}
	return ""
}

// about returns what is wrong with a field, or "" for nothing.
func about(field, what string) string {
	if what == "" {
		return ""
	}
	return field + " " + what
}

// sharesNamespace reports whether a mode selects the host's namespace, or that of another
// container or a path, which may be the host's.
func sharesNamespace(mode string) bool {
	if strings.Contains(mode, "/") {
		return true
	}
	kind, _, _ := strings.Cut(mode, ":")
	kind = strings.TrimSpace(kind)
	return strings.EqualFold(kind, "host") || strings.EqualFold(kind, "container")
}

func (d *devices) violation() string {
	switch {
	case len(d.Devices.Value) > 0:
		return "Devices is set"
	case len(d.DeviceRequests.Value) > 0:
		return "DeviceRequests is set"
	case len(d.DeviceCgroupRules.Value) > 0:
		return "DeviceCgroupRules is set"
	}
	return ""
}

func (r rule) capabilityViolation(h *hostConfig) string {
	return r.addedCapability(append(slices.Clone(h.CapAdd.Value), h.Capabilities.Value...))
}

// addedCapability returns which of the added capabilities violates the rule, or "".
func (r rule) addedCapability(names []string) string {
	for _, name := range names {
		added := canonicalCapability(name)
		if r.argument == "" || r.argument == added || added == allCapabilities {
			return fmt.Sprintf("the capability %q is added", name)
		}
	}
	return ""
}

// hardeningOptions are the security options that only take privileges away.
var hardeningOptions = []string{
	"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true",
}

func (h *hostConfig) securityViolation() string {
	if what := securityOptionViolation(h.SecurityOpt.Value); what != "" {
		return about("SecurityOpt", what)
	}
	// The client turns systempaths=unconfined into empty lists.
	if h.MaskedPaths.Value != nil || h.ReadonlyPaths.Value != nil {
		return "MaskedPaths or ReadonlyPaths is set"
	}
	return about("Annotations", annotationViolation(h.Annotations.Value))
}

// securityOptionViolation returns which option may give privileges, or "".
func securityOptionViolation(options []string) string {
	for _, option := range options {
		if !slices.Contains(hardeningOptions, option) {
			return fmt.Sprintf("has %q", option)
		}
	}
	return ""
}

// annotationViolation returns which annotation is refused, or "". Runtimes read security options
// from annotations: crun, for example, a seccomp filter. Podman's hooks can be selected by them.
func annotationViolation(annotations map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, ownAnnotations) {
			return fmt.Sprintf("has %q, which may be a security option or select a hook", key)
		}
	}
	return ""
}

// ownAnnotations is the prefix of Palisade's annotations, none of which is a security option.
const ownAnnotations = "palisade."

// remapAnnotation holds the id mapping of a Docker container for userns-shift
// (internal/userns/remap).
const remapAnnotation = "palisade.user-remap"

// remapViolation returns why a container would not get ids of its own by the annotation, or "". A
// request before API 1.43 is refused, because an engine silently drops its annotations.
func (h *hostConfig) remapViolation(uri string) string {
	remap := h.Annotations.Value[remapAnnotation]
	major, minor, ok := action.Version(uri)
	switch {
	case remap == "":
		return fmt.Sprintf("the annotation %q is missing", remapAnnotation)
	case !ok || major != 1 || minor < 43:
		return "annotations need API version 1.43 or later"
	case h.Runtime.Value != "":
		return "Runtime is set: another runtime may ignore the user remap"
	}
	return remapEffect(remap)
}

// remapEffect returns why a user remap gives a container no ids of its own, or "".
func remapEffect(remap string) string {
	ids, err := idmap.ParseRemap(remap)
	switch {
	case err != nil:
		return err.Error()
	case !ids.HasEffect():
		return fmt.Sprintf("the user remap %q does not map root", remap)
	}
	return ""
}

func (h *hostConfig) bindViolation() string {
	for _, bind := range h.Binds.Value {
		if strings.HasPrefix(bind, "/") { // otherwise the source is the name of a volume
			return fmt.Sprintf("Binds has %q", bind)
		}
	}
	for i := range h.Mounts.Value {
		if what := h.Mounts.Value[i].violation(); what != "" {
			return what
		}
	}
	if len(h.VolumesFrom.Value) > 0 {
		return "VolumesFrom is set: the mounts of other containers are unknown"
	}
	return driverViolation(h.VolumeDriver.Value)
}

// violation returns why the rule "binds" refuses a mount, or "".
func (m *mount) violation() string {
	switch m.Type.Value {
	case "bind":
		return fmt.Sprintf("Mounts has %q", m.Source.Value)
	case "tmpfs", "image":
	case "volume":
		driver := m.VolumeOptions.Value.DriverConfig.Value
		return volumeViolation(driver.Name.Value, driver.Options.Value)
	default:
		return fmt.Sprintf("Mounts has the type %q", m.Type.Value)
	}
	return ""
}

func driverViolation(driver string) string {
	if driver == "" || driver == "local" {
		return ""
	}
	return fmt.Sprintf("the mounts of the volume driver %q are unknown", driver)
}

// safeVolumeTypes are the file systems that a volume's options may mount: they show no files of the
// host.
var safeVolumeTypes = []string{"tmpfs", "nfs", "nfs4", "cifs"}

// fileOptions are the mount options that name a file of the host.
var fileOptions = []string{"credentials", "cred"}

// bindOptions are the mount options that make the local driver ignore the file system type.
var bindOptions = []string{"bind", "rbind", "remount", "move"}

// volumeViolation returns why the rule "binds" refuses a volume, or "". The local driver passes the
// options type, device and o to mount(2).
func volumeViolation(driver string, options map[string]string) string {
	if what := driverViolation(driver); what != "" {
		return what
	}
	for key := range options {
		if key != strings.ToLower(key) {
			return fmt.Sprintf("the volume's option %q is not in lower case", key)
		}
	}
	fsType, device := options["type"], options["device"]
	if fsType == "" && device == "" && options["o"] == "" {
		return ""
	}
	isBind := fsType == "" || fsType == "none" || fsType == "bind"
	for option := range strings.SplitSeq(options["o"], ",") {
		option, _, _ = strings.Cut(strings.ToLower(option), "=")
		option = strings.TrimSpace(option)
		isBind = isBind || slices.Contains(bindOptions, option)
		if slices.Contains(fileOptions, option) {
			return fmt.Sprintf("the volume's option %q is a file of the host", option)
		}
	}
	switch {
	case strings.HasPrefix(device, "-"):
		// Podman executes mount with it: --fstab=FILE can turn a tmpfs into a bind mount.
		return fmt.Sprintf("the volume's device %q is an option of mount(8)", device)
	case isBind:
		return fmt.Sprintf("the volume's device is %q", device)
	case !slices.Contains(safeVolumeTypes, fsType):
		return fmt.Sprintf("the volume's file system type is %q", fsType)
	}
	return ""
}
