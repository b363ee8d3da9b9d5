package policy_test

import (
	"bytes"
	"encoding/json"
)

// MobyHostConfig has the fields of the engine's HostConfig that the fuzz test needs.
type MobyHostConfig struct {
	Privileged bool
	PidMode    string
	Binds      []string
}

// mobyBody is the engine's body of container_create (moby 20.10, runconfig.ContainerConfigWrapper).
type mobyBody struct {
	InnerHostConfig *MobyHostConfig `json:"HostConfig,omitempty"`
	*MobyHostConfig
}

// isHarmless reports whether the engine, which parses only the first value, rejects the body or
// creates a container without what is denied.
func isHarmless(text []byte) bool {
	var body mobyBody
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&body); err != nil {
		return true
	}
	h := body.MobyHostConfig
	if body.InnerHostConfig != nil {
		h = body.InnerHostConfig
	}
	return h == nil || !h.Privileged && h.PidMode != "host" && len(h.Binds) == 0
}

// specGenerator has the fields of Podman's SpecGenerator that the fuzz test needs.
type specGenerator struct {
	Privileged bool `json:"privileged"`
	Pod        string
	PidNS      struct {
		NSMode string `json:"nsmode"`
	} `json:"pidns"`
	Mounts  []struct{ Type string } `json:"mounts"`
	Volumes []struct{ Name string } `json:"volumes"`
	Rootfs  string                  `json:"rootfs"`
}

// isHarmlessSpec reports whether Podman rejects the body or creates a container without what is
// denied.
func isHarmlessSpec(text []byte) bool {
	var s specGenerator
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&s); err != nil {
		return true
	}
	for _, m := range s.Mounts {
		if m.Type == "bind" || m.Type == "" {
			return false
		}
	}
	for _, v := range s.Volumes {
		if len(v.Name) > 0 && v.Name[0] == '/' {
			return false
		}
	}
	return !s.Privileged && s.PidNS.NSMode != "host" && s.Rootfs == "" && s.Pod == ""
}
