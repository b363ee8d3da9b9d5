package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// once is a field of a body that may be there once. encoding/json, by which the engine decodes too, takes keys in any case
// and the last of several; it calls UnmarshalJSON for each of them.
type once[T any] struct {
	is    bool
	value T
}

// UnmarshalJSON refuses a second value.
func (o *once[T]) UnmarshalJSON(text []byte) error {
	if o.is {
		return errTwice
	}
	o.is = true
	return json.Unmarshal(text, &o.value)
}

var errTwice = errors.New("a key comes twice")

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
	Privileged        once[bool]
	PidMode           once[string]
	NetworkMode       once[string]
	IpcMode           once[string]
	UTSMode           once[string]
	UsernsMode        once[string]
	Binds             once[[]string]
	Mounts            once[[]mount]
	VolumesFrom       once[[]string]
	VolumeDriver      once[string]
	Devices           once[[]json.RawMessage]
	DeviceRequests    once[[]json.RawMessage]
	DeviceCgroupRules once[[]string]
	CapAdd            once[words]
	Capabilities      once[words]
	SecurityOpt       once[[]string]
	MaskedPaths       once[*[]string]
	ReadonlyPaths     once[*[]string]
	Annotations       once[map[string]string]
	Runtime           once[string]
}

// mount is an entry of HostConfig.Mounts.
type mount struct {
	Type          once[string]
	Source        once[string]
	VolumeOptions once[struct {
		DriverConfig once[struct {
			Name    once[string]
			Options once[map[string]string]
		}]
	}]
}

// createBody is that of a container's creation. Engines before API 1.44 take fields of HostConfig at the top too.
type createBody struct {
	hostConfig
	HostConfig       once[hostConfig]
	NetworkingConfig once[struct {
		EndpointsConfig once[map[string]json.RawMessage]
	}]
}

// execBody is that of a new process.
type execBody struct{ Privileged once[bool] }

// updateBody is that of a change of limits.
type updateBody struct {
	Devices           once[[]json.RawMessage]
	DeviceRequests    once[[]json.RawMessage]
	DeviceCgroupRules once[[]string]
}

// volumeBody is that of a new volume.
type volumeBody struct {
	Driver     once[string]
	DriverOpts once[map[string]string]
}

// decodeBody reads a body of JSON as the engine would, but for what engines read differently or may change their minds
// about: a key that comes twice, anywhere, and text behind the value.
func decodeBody(text []byte, body any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := walkUnique(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind the JSON value")
	}
	return json.Unmarshal(text, body)
}

// maxDepth is how deep a body may be nested. Those of containers have a depth of about six.
const maxDepth = 64

// walkUnique reads a value, and fails of an object that has a key twice.
func walkUnique(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if seen[name] {
				return fmt.Errorf("%w: %q", errTwice, name)
			}
			seen[name] = true
		}
		if err := walkUnique(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
