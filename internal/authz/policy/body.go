package policy

import (
	"encoding/json"

	"palisade/internal/authz/strictjson"
)

// words is a list of strings, for which the engine takes a string too.
type words []string

// UnmarshalJSON reads either.
func (w *words) UnmarshalJSON(text []byte) error {
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		var word string
		if err := json.Unmarshal(text, &word); err != nil {
			return err
		}
		list = []string{word}
	}
	*w = list
	return nil
}

// hostConfig is what rules look at in a container's HostConfig (moby, api/types/container).
type hostConfig struct {
	Privileged        strictjson.Once[bool]
	PidMode           strictjson.Once[string]
	NetworkMode       strictjson.Once[string]
	IpcMode           strictjson.Once[string]
	UTSMode           strictjson.Once[string]
	UsernsMode        strictjson.Once[string]
	Binds             strictjson.Once[[]string]
	Mounts            strictjson.Once[[]mount]
	VolumesFrom       strictjson.Once[[]string]
	VolumeDriver      strictjson.Once[string]
	Devices           strictjson.Once[[]json.RawMessage]
	DeviceRequests    strictjson.Once[[]json.RawMessage]
	DeviceCgroupRules strictjson.Once[[]string]
	CapAdd            strictjson.Once[words]
	Capabilities      strictjson.Once[words]
	SecurityOpt       strictjson.Once[[]string]
	MaskedPaths       strictjson.Once[*[]string]
	ReadonlyPaths     strictjson.Once[*[]string]
	Annotations       strictjson.Once[map[string]string]
	Runtime           strictjson.Once[string]
}

// mount is an entry of HostConfig.Mounts.
type mount struct {
	Type          strictjson.Once[string]
	Source        strictjson.Once[string]
	VolumeOptions strictjson.Once[struct {
		DriverConfig strictjson.Once[struct {
			Name    strictjson.Once[string]
			Options strictjson.Once[map[string]string]
		}]
	}]
}

// createBody is that of a container's creation. Engines before API 1.44 take fields of HostConfig at the top too.
type createBody struct {
	hostConfig
	HostConfig       strictjson.Once[hostConfig]
	NetworkingConfig strictjson.Once[struct {
		EndpointsConfig strictjson.Once[map[string]json.RawMessage]
	}]
}

// execBody is that of a new process.
type execBody struct{ Privileged strictjson.Once[bool] }

// updateBody is that of a change of limits.
type updateBody struct {
	Devices           strictjson.Once[[]json.RawMessage]
	DeviceRequests    strictjson.Once[[]json.RawMessage]
	DeviceCgroupRules strictjson.Once[[]string]
}

// volumeBody is that of a new volume.
type volumeBody struct {
	Driver     strictjson.Once[string]
	DriverOpts strictjson.Once[map[string]string]
}
