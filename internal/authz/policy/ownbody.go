package policy

import (
	"encoding/json"
	"strings"

	"palisade/internal/authz/action"
	"palisade/internal/authz/strictjson"
)

// object is a JSON object whose keys an engine reads in any case.
type object map[string]json.RawMessage

// parseObject parses an object. It refuses duplicate keys, also those that differ only in case, of
// which each parser may keep another one. Missing text and null are an empty object.
func parseObject(text json.RawMessage) (object, error) {
	if len(text) == 0 || string(text) == "null" {
		return make(object), nil
	}
	var o object
	if err := strictjson.Unmarshal(text, &o); err != nil {
		return nil, refuse("parse the body: %v", err)
	}
	if o == nil {
		return nil, refuse("parse the body: want an object")
	}
	seen := make(map[string]bool)
	for key := range o {
		folded := foldKey(key)
		if seen[folded] {
			return nil, refuse("parse the body: duplicate key %q", key)
		}
		seen[folded] = true
	}
	return o, nil
}

// find returns the key of the object that equals key in any case, or key itself.
func (o object) find(key string) string {
	for k := range o {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return key
}

// has reports whether a key is present, and not null.
func (o object) has(key string) bool {
	text := o[o.find(key)]
	return len(text) > 0 && string(text) != "null"
}

// edit applies change to the value of a key, if it is present and not null.
func edit[T any](o object, key string, change func(T) (T, error)) error {
	key = o.find(key)
	if !o.has(key) {
		return nil
	}
	var value T
	if err := json.Unmarshal(o[key], &value); err != nil {
		return refuse("parse the body: %s: %v", key, err)
	}
	value, err := change(value)
	if err == nil {
		o[key], err = json.Marshal(value)
	}
	return err
}

// editObject is edit for an object.
func editObject(o object, key string, change func(object) error) error {
	return edit(o, key, func(text json.RawMessage) (json.RawMessage, error) {
		inner, err := parseObject(text)
		if err != nil {
			return nil, err
		}
		if err := change(inner); err != nil {
			return nil, err
		}
		return json.Marshal(inner)
	})
}

// changed returns the request with another body.
func (o *owning) changed(body object) (*Forward, error) {
	text, err := json.Marshal(body)
	return &Forward{URI: o.uri(o.query), Body: text, ContentType: jsonType}, err
}

// labelled sets the owner's label.
func labelled(body object, owner string, isLibpod bool) error {
	key := "Labels"
	if isLibpod {
		key = "labels"
	}
	key = body.find(key)
	if !body.has(key) {
		body[key] = json.RawMessage("{}")
	}
	return edit(body, key, func(labels map[string]string) (map[string]string, error) {
		if given, ok := labels[OwnerLabel]; ok && given != owner {
			return nil, refuse("the label %s is %q, want %q or none", OwnerLabel, given, owner)
		}
		labels[OwnerLabel] = owner
		return labels, nil
	})
}

// labelledRequest returns the request to create a container with the owner's label, or nil if there
// is no owner, or the request has such a label already, or it cannot be parsed.
func labelledRequest(owner string, r Request) *Forward {
	body, err := parseObject(r.body)
	isLibpod := r.engine == action.Podman && action.IsLibpod(r.uri)
	if err != nil || owner == "" || len(r.body) == 0 || labelled(body, owner, isLibpod) != nil {
		return nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil
	}
	return &Forward{URI: r.uri, Body: text, ContentType: jsonType}
}

// create sets the label, and replaces the names of other containers with their ids, because the
// engine looks up some of them at each start.
func (o *owning) create() (*Forward, error) {
	body, err := parseObject(o.body)
	if err != nil {
		return nil, err
	}
	if len(o.body) == 0 {
		return nil, refuse("the body is missing")
	}
	if err := labelled(body, o.owner, o.libpod); err != nil {
		return nil, err
	}
	if err := o.checkNames(); err != nil {
		return nil, err
	}
	if err := edit(body, "name", func(name string) (string, error) {
		return name, checkName(name)
	}); err != nil {
		return nil, err
	}
	if o.libpod {
		err = o.specGenerator(body)
	} else {
		err = o.createBody(body)
	}
	if err == nil {
		err = edit(body, "Image", o.image)
	}
	if err != nil {
		return nil, err
	}
	return o.changed(body)
}

// image refuses an image with the owner label, whose containers have no owner.
func (o *owning) image(ref string) (string, error) {
	has, err := o.ImageHasOwner(ref)
	if err == nil && has {
		err = refuse("the image %q has the label %s: remove it from the image", ref, OwnerLabel)
	}
	return ref, err
}

// createBody edits a body of Docker's API. Old engines also accept the fields of HostConfig at the
// top level.
func (o *owning) createBody(body object) error {
	if err := o.hostConfig(body); err != nil {
		return err
	}
	if err := editObject(body, "HostConfig", o.hostConfig); err != nil {
		return err
	}
	return editObject(body, "NetworkingConfig", func(networking object) error {
		return editObject(networking, "EndpointsConfig", func(endpoints object) error {
			for name := range endpoints {
				if err := editObject(endpoints, name, o.endpoint); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (o *owning) endpoint(endpoint object) error { return edit(endpoint, "Links", o.links) }

func (o *owning) hostConfig(h object) error {
	for _, key := range []string{"NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode",
		"CgroupnsMode", "Cgroup"} {
		if err := edit(h, key, o.mode); err != nil {
			return err
		}
	}
	if err := edit(h, "VolumesFrom", o.references); err != nil {
		return err
	}
	return edit(h, "Links", o.links)
}

// mode resolves the container in a namespace's mode, container:REF.
func (o *owning) mode(mode string) (string, error) {
	kind, ref, found := strings.Cut(mode, ":")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "container":
		id, err := o.resolve(ref)
		return "container:" + id, err
	case "ns", "pod":
		if found {
			return "", refuse("the namespace %q may be that of another container", mode)
		}
	}
	return mode, nil
}

// references resolves the containers in a list of REF[:OPTIONS].
func (o *owning) references(list []string) ([]string, error) {
	for i, item := range list {
		ref, _, _ := strings.Cut(item, ":")
		id, err := o.resolve(ref)
		if err != nil {
			return nil, err
		}
		list[i] = id + strings.TrimPrefix(item, ref)
	}
	return list, nil
}

// links resolves the containers in a list of REF[:ALIAS]. The alias is REF by default.
func (o *owning) links(list []string) ([]string, error) {
	for i, item := range list {
		ref, alias, found := strings.Cut(item, ":")
		ref = strings.TrimPrefix(ref, "/")
		if !found {
			alias = ref
		}
		id, err := o.resolve(ref)
		if err != nil {
			return nil, err
		}
		list[i] = id + ":" + alias
	}
	return list, nil
}

// specGenerator edits a body of Podman's API.
func (o *owning) specGenerator(body object) error {
	for _, key := range []string{"pidns", "utsns", "ipcns", "userns", "cgroupns", "netns"} {
		if err := editObject(body, key, o.namespace); err != nil {
			return err
		}
	}
	refuseAny := func(pod string) (string, error) {
		if pod != "" {
			return "", refuse("pods have no owner")
		}
		return pod, nil
	}
	if err := edit(body, "pod", refuseAny); err != nil {
		return err
	}
	for _, key := range []string{"volumes_from", "devices_from", "dependencyContainers"} {
		if err := edit(body, key, o.references); err != nil {
			return err
		}
	}
	return nil
}

// namespace resolves the container of a namespace, {"nsmode":"container","value":REF}.
func (o *owning) namespace(ns object) error {
	var mode string
	if err := edit(ns, "nsmode", func(text string) (string, error) {
		mode = text
		return text, nil
	}); err != nil {
		return err
	}
	switch strings.ToLower(mode) {
	case "container":
		return edit(ns, "value", o.resolve)
	case "path", "pod", "from-pod":
		return refuse("the namespace %q may be that of another container", mode)
	}
	return nil
}

// connect resolves the container of a request to connect it to a network.
func (o *owning) connect() (*Forward, error) {
	body, err := parseObject(o.body)
	if err != nil {
		return nil, err
	}
	if !body.has("Container") {
		return nil, refuse("the body names no container")
	}
	if err := edit(body, "Container", o.resolve); err != nil {
		return nil, err
	}
	if err := editObject(body, "EndpointConfig", o.endpoint); err != nil {
		return nil, err
	}
	return o.changed(body)
}
