package policy

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// jsonType keeps an engine from reading parameters in a form in the body.
const jsonType = "application/json"

// take removes a key in any case from a query, as Podman reads it, and returns its values.
func take(query url.Values, key string) (values []string) {
	for k := range query {
		if strings.EqualFold(k, key) {
			values = append(values, query[k]...)
			delete(query, k)
		}
	}
	return values
}

// filtered adds a filter by the owner's label to a list, a prune or events.
func (o *owning) filtered() (*Forward, error) {
	query, err := url.ParseQuery(o.query)
	if err != nil {
		return nil, refuse("parse the query: %v", err)
	}
	given := take(query, "filters")
	if len(given) > 1 {
		return nil, refuse("filters is given more than once")
	}
	take(query, "external") // Podman's containers of other programs, which have no labels
	filters := make(map[string]map[string]bool)
	if len(given) == 1 && given[0] != "" {
		if filters, err = parseFilters(given[0]); err != nil {
			return nil, err
		}
	}
	if o.segments[0] == "containers" {
		for _, key := range []string{"before", "since"} {
			take(query, key) // of old versions
			if filters[key], err = o.resolveAll(filters[key]); err != nil {
				return nil, err
			}
			if filters[key] == nil {
				delete(filters, key)
			}
		}
	}
	label := OwnerLabel + "=" + o.owner
	for key, values := range filters {
		// Podman's events match any of several labels, not all.
		if o.podman && o.segments[0] == "events" && strings.EqualFold(key, "label") &&
			(len(values) != 1 || !values[label]) {
			return nil, refuse("Podman cannot filter events by a label and by the owner")
		}
	}
	if filters["label"] == nil {
		filters["label"] = make(map[string]bool)
	}
	filters["label"][label] = true
	text, err := json.Marshal(filters)
	query.Set("filters", string(text))
	return &Forward{URI: o.uri(query.Encode())}, err
}

// filterKey matches the keys of filters. Podman takes text after "=" in a key as part of the value.
var filterKey = regexp.MustCompile(`^[a-zA-Z_-]+!?$`)

// parseFilters parses filters in both forms of the API: {"key":["value"]}, {"key":{"value":true}}.
func parseFilters(text string) (map[string]map[string]bool, error) {
	filters := make(map[string]map[string]bool)
	if json.Unmarshal([]byte(text), &filters) != nil {
		var lists map[string][]string
		if err := json.Unmarshal([]byte(text), &lists); err != nil {
			return nil, refuse("parse filters: %v", err)
		}
		filters = make(map[string]map[string]bool)
		for key, list := range lists {
			filters[key] = make(map[string]bool)
			for _, value := range list {
				filters[key][value] = true
			}
		}
	}
	for key := range filters {
		if !filterKey.MatchString(key) {
			return nil, refuse("unknown filter %q", key)
		}
	}
	if filters == nil { // the JSON text null
		filters = make(map[string]map[string]bool)
	}
	return filters, nil
}

// resolveAll resolves the containers in the values of a filter. The engine's error would tell
// whether others have a container.
func (o *owning) resolveAll(refs map[string]bool) (ids map[string]bool, err error) {
	for ref, value := range refs {
		id, err := o.resolve(ref)
		if err != nil {
			return nil, err
		}
		if ids == nil {
			ids = make(map[string]bool)
		}
		ids[id] = value
	}
	return ids, nil
}

// stats limits Podman's statistics of several containers, which without names are those of all.
func (o *owning) stats() (*Forward, error) {
	query, err := url.ParseQuery(o.query)
	if err != nil {
		return nil, refuse("parse the query: %v", err)
	}
	limited := make(url.Values)
	for _, ref := range take(query, "containers") {
		id, err := o.resolve(ref)
		if err != nil {
			return nil, err
		}
		limited.Add("containers", id)
	}
	if len(limited) == 0 {
		if limited["containers"], err = o.Containers(o.owner); err != nil {
			return nil, err
		}
		if len(limited["containers"]) == 0 {
			return nil, refusal{text: "there are none", notFound: true}
		}
	}
	for _, key := range []string{"stream", "interval"} {
		if values := take(query, key); len(values) > 0 {
			limited.Set(key, values[0])
		}
	}
	return &Forward{URI: o.uri(limited.Encode())}, nil
}

// commit replaces the name of the container with its id. The image does not inherit the label.
func (o *owning) commit() (*Forward, error) {
	query, err := url.ParseQuery(o.query)
	if err != nil {
		return nil, refuse("parse the query: %v", err)
	}
	given := take(query, "container")
	if len(given) != 1 {
		return nil, refuse("want one container to commit")
	}
	id, err := o.resolve(given[0])
	if err != nil {
		return nil, err
	}
	query.Set("container", id)
	query["changes"] = append(take(query, "changes"), "LABEL "+OwnerLabel+`=""`)
	return &Forward{URI: o.uri(query.Encode()), ContentType: jsonType}, nil
}

// build refuses a build in the namespaces of other containers. Its context is a tar archive.
func (o *owning) build() (*Forward, error) {
	query, err := url.ParseQuery(o.query)
	if err != nil {
		return nil, refuse("parse the query: %v", err)
	}
	if len(take(query, "nsoptions")) > 0 {
		return nil, refuse("nsoptions may name the namespaces of other containers")
	}
	for _, mode := range take(query, "networkmode") {
		if kind, _, found := strings.Cut(mode, ":"); found {
			return nil, refuse("a build uses the network of %q", kind)
		}
	}
	return &Forward{URI: o.uri(o.query), ContentType: "application/x-tar"}, nil
}
