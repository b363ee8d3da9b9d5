package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"palisade/internal/authz/action"
	"palisade/internal/authz/strictjson"
)

// isuladChecks are the methods of iSulad whose messages rules examine, and the functions that find
// what the rules forbid.
var isuladChecks = map[string]func(*Policy, []byte) string{
	"/containers.ContainerService/Create":     (*Policy).isuladCreateViolation,
	"/containers.ContainerService/Update":     (*Policy).isuladUpdateViolation,
	"/containers.ContainerService/Start":      isuladStdio(2, 4, 6),
	"/containers.ContainerService/Exec":       isuladStdio(7, 8, 9),
	"/containers.ContainerService/RemoteExec": isuladRemoteExecViolation,
}

// IsuladNeedsMessage reports whether rules examine the message of a gRPC method of iSulad.
func IsuladNeedsMessage(method string) bool { return isuladChecks[method] != nil }

// IsuladRequest returns a request to iSulad's gRPC API. The method is the full one, such as
// /containers.ContainerService/Create. The message is protobuf, except for RemoteExec: there it is
// the JSON in the metadata isulad-remote-exec. It may be nil if IsuladNeedsMessage returns false.
func IsuladRequest(method string, message []byte) Request {
	return Request{
		engine: action.Isulad, action: action.ForIsuladMethod(method), method: method, body: message,
	}
}

// isuladCheck returns the function that finds what the rules forbid in the message of a method, or
// nil.
func (p *Policy) isuladCheck(method string) func(Request) string {
	check := isuladChecks[method]
	if check == nil {
		return nil
	}
	return func(r Request) string { return check(p, r.body) }
}

// hostConfigKeys and configKeys are the keys that iSulad 2.1.6 knows. Others are refused: a later
// version may give them a meaning, and one that differs in case from a known key has none.
var (
	hostConfigKeys = strings.Fields(`
	VolumesFrom Binds Mounts NetworkMode PortBindings BridgeNetwork IP MacAddress GroupAdd IpcMode
	PidMode Privileged SystemContainer NsChangeFiles UserRemap ShmSize AutoRemove AutoRemoveBak
	ReadonlyRootfs Tmpfs UTSMode UsernsMode CgroupnsMode Sysctls Runtime RestartPolicy CapAdd
	CapDrop Dns DnsOptions DnsSearch ExtraHosts HookSpec CPUShares Memory Unified OomScoreAdj
	BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIops
	BlkioDeviceWriteIops NanoCpus CPUPeriod CPUQuota CPURealtimePeriod CPURealtimeRuntime CpusetCpus
	CpusetMems Devices DeviceCgroupRules SecurityOpt StorageOpt KernelMemory MemoryReservation
	MemorySwap MemorySwappiness OomKillDisable PidsLimit FilesLimit Ulimits Hugetlbs HostChannel
	EnvTargetFile ExternalRootfs CgroupParent MaskedPaths ReadonlyPaths NoPivotRoot
	CdiRequestedDevices NriDevices NriRlimits`)
	configKeys = strings.Fields(`
	Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts PublishService Tty
	OpenStdin StdinOnce Env Cmd ArgsEscaped Image ImageRef Volumes WorkingDir Entrypoint
	NetworkDisabled MacAddress Onbuild Labels LogDriver Annotations StopSignal Healthcheck
	SystemContainer NsChangeOpt Mounts`)
)

// isuladHostConfig has the fields that rules check in CreateRequest.hostconfig and
// UpdateRequest.hostconfig (lcr, src/json/schema/host-config.json).
type isuladHostConfig struct {
	hostConfig
	UserRemap, HookSpec, EnvTargetFile, ExternalRootfs strictjson.Once[string]
	SystemContainer, NoPivotRoot                       strictjson.Once[bool]
	NsChangeFiles, CdiRequestedDevices                 strictjson.Once[[]string]
	NriDevices                                         strictjson.Once[[]json.RawMessage]
	HostChannel                                        strictjson.Once[*json.RawMessage]
}

// isuladConfig has the fields that rules check in CreateRequest.customconfig (lcr,
// src/json/schema/container/config.json).
type isuladConfig struct {
	Annotations     strictjson.Once[map[string]string]
	Mounts          strictjson.Once[[]string]
	NsChangeOpt     strictjson.Once[string]
	SystemContainer strictjson.Once[bool]
}

func (p *Policy) isuladCreateViolation(message []byte) string {
	// CreateRequest: rootfs, runtime, hostconfig, customconfig.
	f, err := stringFields(message, 2, 4, 5, 6)
	if err != nil {
		return err.Error()
	}
	host, custom := new(isuladHostConfig), new(isuladConfig)
	if err := parseIsulad("hostconfig", f[5], hostConfigKeys, host); err != nil {
		return err.Error()
	}
	if err := parseIsulad("customconfig", f[6], configKeys, custom); err != nil {
		return err.Error()
	}
	host.ExternalRootfs.Value = cmp.Or(f[2], host.ExternalRootfs.Value)
	host.Runtime.Value = f[4] // iSulad ignores Runtime in hostconfig
	host.Annotations = custom.Annotations
	host.SystemContainer.Value = host.SystemContainer.Value || custom.SystemContainer.Value
	if what := host.hostFileViolation(); what != "" {
		return what
	}
	for _, rule := range p.rules {
		what := cmp.Or(rule.isuladViolation(host), rule.customViolation(custom))
		if rule.kind == "no-user-remap" {
			what = cmp.Or(what, host.remapViolation())
		}
		if what != "" {
			return rule.violatedBy(what)
		}
	}
	return ""
}

func (p *Policy) isuladUpdateViolation(message []byte) string {
	f, err := stringFields(message, 2) // UpdateRequest: hostconfig
	if err != nil {
		return err.Error()
	}
	host := new(isuladHostConfig)
	if err := parseIsulad("hostconfig", f[2], hostConfigKeys, host); err != nil {
		return err.Error()
	}
	for _, rule := range p.rules {
		if what := rule.isuladViolation(host); what != "" {
			return rule.violatedBy(what)
		}
	}
	return host.hostFileViolation()
}

// logFile is the annotation with the path of a container's log.
const logFile = "log.console.file"

// hostFileViolation returns the setting with which iSulad would execute or write a file of the host
// as root, which could bypass any rule, or "".
func (h *isuladHostConfig) hostFileViolation() string {
	switch _, hasLog := h.Annotations.Value[logFile]; {
	case h.HookSpec.Value != "":
		return "HookSpec is set: its programs run on the host as root"
	case hasLog:
		return fmt.Sprintf("Annotations has %q: iSulad writes to that file of the host", logFile)
	}
	return ""
}

// isuladViolation returns what in a hostconfig the rule forbids, or "".
func (r rule) isuladViolation(h *isuladHostConfig) string {
	if what := r.violation(&h.hostConfig); what != "" {
		return what
	}
	switch r.kind {
	case "rootfs":
		return h.rootfsViolation()
	case "binds":
		switch {
		case h.HostChannel.Value != nil:
			return "HostChannel is set"
		case h.EnvTargetFile.Value != "":
			return "EnvTargetFile is set, which may be a symbolic link to a file of the host"
		}
		return h.rootfsViolation()
	case "devices":
		if len(h.CdiRequestedDevices.Value)+len(h.NriDevices.Value) > 0 {
			return "CdiRequestedDevices or NriDevices is set"
		}
	case "capabilities":
		// specs_security.c of iSulad; the other capabilities there are those of any container.
		if h.SystemContainer.Value && (r.argument == "" || r.argument == "SYS_BOOT") {
			return "SystemContainer adds the capability SYS_BOOT"
		}
	case "security-options":
		switch {
		case h.SystemContainer.Value:
			return "SystemContainer allows more system calls"
		case h.NoPivotRoot.Value:
			return "NoPivotRoot is set"
		}
	}
	if slices.Contains(sysctlRules, r.kind) {
		return isSet("NsChangeFiles", len(h.NsChangeFiles.Value) > 0)
	}
	return ""
}

func (h *isuladHostConfig) rootfsViolation() string {
	if h.ExternalRootfs.Value == "" {
		return ""
	}
	return fmt.Sprintf("the root file system is %q of the host", h.ExternalRootfs.Value)
}

// sysctlRules are the kinds of rules that keep /proc/sys of a system container read-only.
var sysctlRules = []string{"security-options", "sysctls"}

// customViolation returns what in a customconfig the rule forbids, or "".
func (r rule) customViolation(c *isuladConfig) string {
	switch {
	case r.kind == "binds" && len(c.Mounts.Value) > 0:
		return fmt.Sprintf("customconfig.Mounts has %q", c.Mounts.Value[0])
	case slices.Contains(sysctlRules, r.kind) && c.NsChangeOpt.Value != "":
		return "NsChangeOpt is set"
	}
	return ""
}

// remappingRuntimes are the runtimes that are known to apply UserRemap.
var remappingRuntimes = []string{"", "lcr", "runc"}

// remapViolation returns why a container would not get ids of its own, or "".
func (h *isuladHostConfig) remapViolation() string {
	switch {
	case h.UserRemap.Value == "":
		return "UserRemap is missing"
	case sharesNamespace(h.UsernsMode.Value):
		return fmt.Sprintf("UsernsMode is %q", h.UsernsMode.Value)
	case !slices.Contains(remappingRuntimes, h.Runtime.Value):
		return fmt.Sprintf("the runtime %q may ignore the user remap", h.Runtime.Value)
	}
	return remapEffect(h.UserRemap.Value)
}

// isuladStdio returns the function that examines the paths in the given fields of a message.
func isuladStdio(numbers ...protowire.Number) func(*Policy, []byte) string {
	return func(_ *Policy, message []byte) string {
		f, err := stringFields(message, numbers...)
		if err != nil {
			return err.Error()
		}
		for _, number := range numbers {
			if what := stdioViolation(f[number]); what != "" {
				return what
			}
		}
		return ""
	}
}

// execKeys are the keys of RemoteExec's arguments (lcr, container/exec-request.json).
var execKeys = strings.Fields(`
	container_id suffix tty attach_stdin attach_stdout attach_stderr stdin stdout stderr argv env
	timeout user workdir`)

func isuladRemoteExecViolation(_ *Policy, text []byte) string {
	var request struct{ Stdin, Stdout, Stderr strictjson.Once[string] }
	if err := parseIsulad("isulad-remote-exec", string(text), execKeys, &request); err != nil {
		return err.Error()
	}
	return cmp.Or(stdioViolation(request.Stdin.Value), stdioViolation(request.Stdout.Value),
		stdioViolation(request.Stderr.Value))
}

// stdioViolation returns why a path for the input or output of a process is refused, or "". isula
// creates FIFOs below /var/run/isula, to which only root and iSulad's group can write. iSulad opens
// any path as root.
func stdioViolation(name string) string {
	inside := strings.HasPrefix(strings.TrimPrefix(name, "/var"), "/run/isula/")
	if name == "" || inside && path.Clean(name) == name {
		return ""
	}
	return fmt.Sprintf("the path %q of an input or output is not below /var/run/isula", name)
}

// parseIsulad parses a JSON object with known keys as iSulad does, or fails. yajl, which iSulad
// uses, takes the first of two equal keys, and C strings end at a NUL.
func parseIsulad(name, text string, known []string, value any) error {
	var keys map[string]json.RawMessage
	err := strictjson.Unmarshal([]byte(text), &keys)
	if err == nil {
		err = json.Unmarshal([]byte(text), value)
	}
	if err == nil && strings.Contains(text, `\u0000`) {
		err = errors.New("a string contains NUL")
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if err == nil && !slices.Contains(known, key) {
			err = fmt.Errorf("unknown key %q", key)
		}
	}
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	return nil
}

// stringFields returns the strings in a protobuf message with these field numbers. It fails if one
// of them is repeated, is not a string, or contains NUL. It skips other fields.
func stringFields(
	message []byte, numbers ...protowire.Number,
) (fields map[protowire.Number]string, err error) {
	fields = make(map[protowire.Number]string)
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		switch {
		case n < 0:
			return nil, fmt.Errorf("parse the message: %w", protowire.ParseError(n))
		case number > protowire.MaxValidNumber: // of which C++ takes the lower bits
			return nil, fmt.Errorf("parse the message: invalid field number %d", number)
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return nil, fmt.Errorf("parse the message: %w", protowire.ParseError(size))
		}
		if slices.Contains(numbers, number) {
			value, _ := protowire.ConsumeBytes(message)
			_, repeated := fields[number]
			switch {
			case kind != protowire.BytesType:
				return nil, fmt.Errorf("parse the message: field %d is not a string", number)
			case repeated:
				return nil, fmt.Errorf("parse the message: field %d is repeated", number)
			case bytes.IndexByte(value, 0) >= 0:
				return nil, fmt.Errorf("parse the message: field %d contains NUL", number)
			}
			fields[number] = string(value)
		}
		message = message[size:]
	}
	return fields, nil
}
