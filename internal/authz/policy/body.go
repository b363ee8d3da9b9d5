package policy

import (
	"encoding/json"

	"palisade/internal/authz/strictjson"
)

// stringOrList is a list of strings that the engine also accepts as a single string.
type stringOrList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *stringOrList) UnmarshalJSON(text []byte) error {
	var list []string
	if json.Unmarshal(text, &list) != nil {
		var single string
		if err := json.Unmarshal(text, &single); err != nil {
			return err
		}
		list = []string{single}
	}
	*l = list
	return nil
}

// hostConfig has the fields of HostConfig (moby, api/types/container) that rules check.
type hostConfig struct {
	Privileged strictjson.Once[bool]
	Mounts     strictjson.Once[[]mount]

	PidMode, NetworkMode, IpcMode, UTSMode, UsernsMode, CgroupnsMode strictjson.Once[string]

	Binds, VolumesFrom, SecurityOpt strictjson.Once[[]string]
	VolumeDriver, Runtime           strictjson.Once[string]
	ContainerIDFile                 strictjson.Once[string]
	CapAdd, Capabilities            strictjson.Once[stringOrList]
	MaskedPaths, ReadonlyPaths      strictjson.Once[*[]string]
	Annotations, Sysctls, Tmpfs     strictjson.Once[map[string]string]
	LogConfig                       strictjson.Once[logConfig]
	devices
}

type logConfig struct {
	Config strictjson.Once[map[string]string]
}

// devices has the fields about devices of HostConfig and of the body of container_update.
type devices struct {
	Devices, DeviceRequests strictjson.Once[[]json.RawMessage]
	DeviceCgroupRules       strictjson.Once[[]string]
}

type mount struct {
	Type, Source, Target, Consistency strictjson.Once[string]

	VolumeOptions strictjson.Once[struct {
		Subpath      strictjson.Once[string]
		DriverConfig strictjson.Once[struct {
			Name    strictjson.Once[string]
			Options strictjson.Once[map[string]string]
		}]
	}]
}

// createBody is the body of container_create. Engines before API 1.44 also accept the fields of
// HostConfig at the top level.
type createBody struct {
	hostConfig
	HostConfig       strictjson.Once[hostConfig]
	Image            strictjson.Once[string]
	Volumes          strictjson.Once[map[string]json.RawMessage]
	NetworkingConfig strictjson.Once[struct {
		EndpointsConfig strictjson.Once[map[string]json.RawMessage]
	}]
}

// execBody is the body of container_exec_create.
type execBody struct{ Privileged strictjson.Once[bool] }

// volumeBody is the body of volume_create. Podman's libpod calls the options of the driver Options.
type volumeBody struct {
	Driver              strictjson.Once[string]
	DriverOpts, Options strictjson.Once[map[string]string]
}
