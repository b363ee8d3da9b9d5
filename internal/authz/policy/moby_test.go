package policy_test

import (
	"bytes"
	"encoding/json"
)

// MobyHostConfig and mobyBody are those of the engine (moby 20.10, runconfig.ContainerConfigWrapper), as far as the fuzz test
// needs them.
type MobyHostConfig struct {
	Privileged bool
	PidMode    string
	Binds      []string
}

type mobyBody struct {
	InnerHostConfig *MobyHostConfig `json:"HostConfig,omitempty"`
	*MobyHostConfig
}

// isHarmless tells whether the engine, which reads the first value, would start a container without what is denied.
func isHarmless(text []byte) bool {
	var body mobyBody
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&body); err != nil {
		return true // the engine refuses it
	}
	h := body.MobyHostConfig
	if body.InnerHostConfig != nil {
		h = body.InnerHostConfig
	}
	return h == nil || !h.Privileged && h.PidMode != "host" && len(h.Binds) == 0
}
