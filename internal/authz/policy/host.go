package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/idmap"
)

// forbids is what in a HostConfig a rule denies, or "".
func (r rule) forbids(h *hostConfig) string {
	if h.Privileged.Value && slices.Contains(privilegedRules, r.kind) {
		return "Privileged is set"
	}
	namespace := func(name, mode string) string {
		if sharesNamespace(mode) {
			return fmt.Sprintf("%s is %q", name, mode)
		}
		return ""
	}
	switch r.kind {
	case rulePID:
		return namespace("PidMode", h.PidMode.Value)
	case ruleNet:
		return namespace("NetworkMode", h.NetworkMode.Value)
	case ruleIPC:
		return namespace("IpcMode", h.IpcMode.Value)
	case ruleUTS:
		return namespace("UTSMode", h.UTSMode.Value)
	case ruleUser:
		return namespace("UsernsMode", h.UsernsMode.Value)
	case ruleBinds:
		return h.forbidsBinds()
	case ruleDevices:
		return h.forbidsDevices()
	case ruleCapabilities:
		return r.forbidsCapabilities(h)
	case ruleSecurity:
		return h.forbidsSecurity()
	}
	return ""
}

// sharesNamespace tells whether a mode is the host's namespace, or another container's, which may be the host's.
func sharesNamespace(mode string) bool {
	kind, _, _ := strings.Cut(mode, ":")
	kind = strings.TrimSpace(kind)
	return strings.EqualFold(kind, "host") || strings.EqualFold(kind, "container")
}

func (h *hostConfig) forbidsDevices() string {
	switch {
	case len(h.Devices.Value) > 0:
		return "Devices are asked for"
	case len(h.DeviceRequests.Value) > 0:
		return "DeviceRequests are made"
	case len(h.DeviceCgroupRules.Value) > 0:
		return "DeviceCgroupRules are given"
	}
	return ""
}

func (r rule) forbidsCapabilities(h *hostConfig) string {
	for _, name := range append(slices.Clone(h.CapAdd.Value), h.Capabilities.Value...) {
		added := capability(name)
		if r.argument == "" || r.argument == added || added == allCapabilities {
			return fmt.Sprintf("the capability %q is added", name)
		}
	}
	return ""
}

// tightening are the security options that only take rights away.
var tightening = []string{"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}

func (h *hostConfig) forbidsSecurity() string {
	for _, option := range h.SecurityOpt.Value {
		if !slices.Contains(tightening, option) {
			return fmt.Sprintf("SecurityOpt has %q", option)
		}
	}
	// The client turns systempaths=unconfined into lists without entries.
	if h.MaskedPaths.Value != nil || h.ReadonlyPaths.Value != nil {
		return "MaskedPaths or ReadonlyPaths are given"
	}
	// crun, for example, takes a seccomp filter from one.
	for _, key := range slices.Sorted(maps.Keys(h.Annotations.Value)) {
		if !strings.HasPrefix(key, ownAnnotations) {
			const format = "Annotations has %q, which a runtime may take for a security option"
			return fmt.Sprintf(format, key)
		}
	}
	return ""
}

// ownAnnotations is the prefix of Palisade's annotations. None of them is a security option.
const ownAnnotations = "palisade."

// remapAnnotation is where userns-shift finds the mapping of a container of Docker (internal/userns/remap).
const remapAnnotation = "palisade.user-remap"

// forbidsNoRemap makes sure that a container asks for ids of its own, by the annotation. Engines have it from API 1.43 on; one
// that is older refuses that version, where it would leave out the annotation of another in silence.
func (h *hostConfig) forbidsNoRemap(uri string) string {
	remap := h.Annotations.Value[remapAnnotation]
	major, minor, ok := action.Version(uri)
	switch {
	case remap == "":
		return "no user remap is asked for"
	case !ok || major != 1 || minor < 43:
		return "annotations need API version 1.43 or later"
	case h.Runtime.Value != "":
		return "Runtime is given, which may leave the annotation out"
	}
	ids, err := idmap.ParseRemap(remap)
	switch {
	case err != nil:
		return err.Error()
	case !ids.HasEffect():
		return fmt.Sprintf("the user remap %q leaves root as it is", remap)
	}
	return ""
}

func (h *hostConfig) forbidsBinds() string {
	for _, bind := range h.Binds.Value {
		if strings.HasPrefix(bind, "/") { // otherwise the source is the name of a volume
			return fmt.Sprintf("Binds has %q", bind)
		}
	}
	for i := range h.Mounts.Value {
		if what := h.Mounts.Value[i].forbidden(); what != "" {
			return what
		}
	}
	switch {
	case len(h.VolumesFrom.Value) > 0:
		return "VolumesFrom is given, and what these containers have mounted is not known"
	case !isLocal(h.VolumeDriver.Value):
		return fmt.Sprintf("what the volume driver %q mounts is not known", h.VolumeDriver.Value)
	}
	return ""
}

// forbidden returns the reason why the rule "binds" refuses a mount, or "".
func (m *mount) forbidden() string {
	switch m.Type.Value {
	case "bind":
		return fmt.Sprintf("Mounts has %q", m.Source.Value)
	case "tmpfs", "image":
	case "volume":
		driver := m.VolumeOptions.Value.DriverConfig.Value
		return forbidsVolume(driver.Name.Value, driver.Options.Value)
	default:
		return fmt.Sprintf("Mounts has the type %q", m.Type.Value)
	}
	return ""
}

func isLocal(driver string) bool { return driver == "" || driver == "local" }

// harmlessTypes are the file systems that a volume's options may mount: they show nothing of the host.
var harmlessTypes = []string{"tmpfs", "nfs", "nfs4", "cifs"}

// forbidsVolume looks for a bind mount in disguise. The local driver mounts what its options say (mount(2)).
func forbidsVolume(driver string, options map[string]string) string {
	if !isLocal(driver) {
		return fmt.Sprintf("what the volume driver %q mounts is not known", driver)
	}
	kind, device := options["type"], options["device"]
	if kind == "" && device == "" && options["o"] == "" {
		return ""
	}
	bind := kind == "" || kind == "none" || kind == "bind"
	for option := range strings.SplitSeq(options["o"], ",") {
		bind = bind || slices.Contains([]string{"bind", "rbind", "remount", "move"}, strings.ToLower(strings.TrimSpace(option)))
	}
	switch {
	case bind:
		return fmt.Sprintf("the volume's device is %q", device)
	case !slices.Contains(harmlessTypes, kind):
		return fmt.Sprintf("the volume has a file system of the type %q", kind)
	}
	return ""
}
