package policy

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"palisade/internal/authz/action"
)

// OwnerLabel is the label of a container that names the client who created it through a front.
const OwnerLabel = "palisade.owner"

// Owners asks an engine about its containers. An owner is an Identity.Owner, or "" if a container
// has no OwnerLabel, or may have it from its image, in which any user can put it.
type Owners interface {
	// Container returns the full id and the owner of the container that a name, an id or a prefix
	// of an id stands for. The id is "" if there is none.
	Container(ref string) (id, owner string, err error)
	// Exec returns the owner of the container of an exec, or "" if there is no such exec.
	Exec(id string) (owner string, err error)
	// Containers returns the full ids of an owner's containers. It returns an error if the engine
	// would take another container for one of these because of the label of its image.
	Containers(owner string) (ids []string, err error)
	// ImageHasOwner reports whether an image has an OwnerLabel. One that does not exist has none.
	ImageHasOwner(ref string) (bool, error)
}

// WithOwners returns the request with a way to ask the engine about containers, for policies with
// "own". Without it they deny all requests.
func (r Request) WithOwners(o Owners) Request {
	r.owners = o
	return r
}

// AllOwn returns Owners for which each container is the client's, to explain what "own" allows.
func AllOwn(id Identity) Owners { return allOwn(id.Owner()) }

type allOwn string

func (o allOwn) Container(ref string) (id, owner string, err error) { return ref, string(o), nil }
func (o allOwn) Exec(string) (owner string, err error)              { return string(o), nil }
func (o allOwn) Containers(string) (ids []string, err error)        { return []string{"ID"}, nil }
func (o allOwn) ImageHasOwner(string) (bool, error)                 { return false, nil }

// Forward replaces an allowed request that a front sends to the engine.
type Forward struct {
	URI string
	// Body replaces the body, unless it is nil.
	Body []byte
	// ContentType replaces the header, unless it is "": engines also read parameters from a form in
	// the body.
	ContentType string
}

// Owner returns the OwnerLabel of containers that the client creates: "user:NAME", "unix:NAME" or
// "container:NAME". It is "" for a client without a name.
func (id Identity) Owner() string {
	if name := id.Name(); id.Container != nil || id.UnixUser != "" || name == "" {
		return name
	}
	return "user:" + id.User
}

// owning limits a request to the containers of an owner.
type owning struct {
	Owners
	owner  string
	podman bool
	// libpod is set for a request to Podman's libpod API, not to its Docker-compatible one.
	libpod bool
	method string
	// version is the leading part of the path that selects the API: /v1.44, /v4.0.0/libpod, or "".
	version  string
	segments []string // of the path after that
	query    string
	body     []byte
}

// refusal is the error for a request that cannot be limited to the owner's containers. Other errors
// come from the engine.
type refusal struct {
	text string
	// notFound reports that there is no such container, or that it has another owner.
	notFound bool
	// isAbsent reports that there is no such container. A client must not learn this.
	isAbsent bool
}

func (r refusal) Error() string { return r.text }

func refuse(format string, args ...any) error {
	return refusal{text: fmt.Sprintf(format, args...)}
}

// own limits the request to the owner's containers. It returns nil if the request needs no change.
func own(owner string, r Request) (*Forward, error) {
	version, path, ok := action.SplitPath(r.uri)
	switch {
	case owner == "":
		return nil, refuse("the client has no name")
	case !ok || !r.action.Known:
		return nil, refuse("the request is unknown")
	}
	path, isLibpod := strings.CutPrefix(path, libpod)
	major, minor, ok := action.Version(r.uri)
	if ok && !isLibpod && (major != 1 || minor < minAPIMinor) {
		return nil, refuse("API versions before 1.%d are not supported", minAPIMinor)
	}
	o := owning{
		Owners: r.owners, owner: owner, podman: r.engine == action.Podman, libpod: isLibpod,
		method: r.method, version: version, body: r.body,
	}
	_, o.query, _ = strings.Cut(r.uri, "?")
	if isLibpod {
		o.version += libpod
	}
	o.segments = strings.Split(strings.TrimPrefix(path, "/"), "/")
	return o.forward()
}

// libpod is the path of Podman's own API. Outside of it Podman has that of Docker.
const libpod = "/libpod"

// harmless are the first segments of paths whose requests neither act on containers nor show them.
// Networks, images and volumes have further checks.
var harmless = []string{
	"_ping", "version", "info", "auth", "distribution", "images", "volumes", "networks", "secrets",
	"session", "grpc", "manifests", "artifacts",
}

func (o *owning) forward() (*Forward, error) {
	last := o.segments[len(o.segments)-1]
	switch first := o.segments[0]; {
	case o.method == "OPTIONS":
		return nil, nil
	case first == "containers" && len(o.segments) == 2 && o.method != "DELETE":
		return o.collection(last)
	case first == "containers":
		return o.container()
	case first == "exec":
		return o.exec()
	case first == "events" && len(o.segments) == 1:
		return o.filtered()
	case first == "commit" && len(o.segments) == 1:
		return o.commit()
	case first == "build" && len(o.segments) == 1:
		return o.build()
	case first == "networks" && o.method == "POST" && (last == "connect" || last == "disconnect"):
		return o.connect()
	case !slices.Contains(harmless, first) || o.podman && first == "images" && last == "changes":
		return nil, refuse("the request may affect containers of other users")
	case o.podman && o.method == "DELETE" && mayBeSet(o.query, "force"),
		o.podman && last == "prune" && mayBeSet(o.query, "external"):
		return nil, refuse("the request would also remove containers of other users")
	}
	return nil, nil
}

// ownedBodies are the actions, besides container_create, whose bodies name containers.
var ownedBodies = []string{"network_connect", "network_disconnect"}

// falsehoods are the values that engines parse as false, in any case. Podman rejects some.
var falsehoods = []string{"", "0", "no", "false", "none"}

// mayBeSet reports whether a query has a true value for a key in any case, or cannot be parsed.
func mayBeSet(query string, key string) bool {
	values, err := url.ParseQuery(query)
	isTrue := func(value string) bool {
		return !slices.Contains(falsehoods, strings.ToLower(strings.TrimSpace(value)))
	}
	return err != nil || slices.ContainsFunc(take(values, key), isTrue)
}

// collection handles requests that name no container in their path.
func (o *owning) collection(name string) (*Forward, error) {
	switch o.method + " " + name {
	case "GET json":
		return o.filtered()
	case "POST create":
		f, err := o.create()
		var why refusal
		if errors.As(err, &why) {
			why.notFound = false // clients would pull the image
			err = why
		}
		return f, err
	case "POST prune":
		// Fail if the filter would also match a container that has the label from its image.
		if _, err := o.Containers(o.owner); err != nil {
			return nil, err
		}
		f, err := o.filtered()
		if err == nil {
			f.ContentType = jsonType
		}
		return f, err
	case "GET stats":
		if o.libpod {
			return o.stats()
		}
	}
	return nil, refuse("the request may affect containers of other users")
}

// containerRoutes are the ends of paths after a container's name. Those not listed take parameters
// that may affect other containers: checkpoints, and restoring a container from one.
var containerRoutes = []string{
	"", "json", "top", "logs", "stats", "changes", "export", "archive", "attach", "attach/ws", "kill",
	"pause", "unpause", "restart", "start", "stop", "wait", "resize", "exec", "rename", "update",
	"exists", "healthcheck", "init", "mount", "unmount",
}

// refPattern matches names and ids of containers and execs.
var refPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// resolve returns the full id of a container of the owner. The error is the same for a container
// that does not exist and for one of another owner. Podman's client looks for its first words.
func (o *owning) resolve(ref string) (string, error) {
	missing := refusal{text: fmt.Sprintf("no such container: %q", ref), notFound: true}
	if !refPattern.MatchString(ref) {
		return "", missing
	}
	switch id, owner, err := o.Container(ref); {
	case err != nil:
		return "", err
	case id == "" || owner != o.owner:
		missing.isAbsent = id == ""
		return "", missing
	default:
		return id, nil
	}
}

// idName matches names that could be ids. Podman finds two containers, or that with the name, for
// the id of another container.
var idName = regexp.MustCompile(`^/?[0-9a-f]{12,64}$`)

// checkNames refuses new names of a container in the query that could be ids of others.
func (o *owning) checkNames() error {
	query, err := url.ParseQuery(o.query)
	if err != nil {
		return refuse("parse the query: %v", err)
	}
	for _, name := range take(query, "name") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if idName.MatchString(name) {
		return refuse("the name %q could be the id of another container", name)
	}
	return nil
}

// container replaces the name of a container in the path with its id: the name may move to another
// container before the engine looks it up.
func (o *owning) container() (*Forward, error) {
	if len(o.segments) < 2 {
		return nil, refuse("the request names no container")
	}
	rest := strings.Join(o.segments[2:], "/")
	switch {
	case !slices.Contains(containerRoutes, rest):
		return nil, refuse("the request may affect containers of other users")
	case rest == "" && (mayBeSet(o.query, "link") || mayBeSet(o.query, "depend")):
		return nil, refuse("link and depend affect other containers")
	case rest == "start" && mayHaveQueryKey("?"+o.query, "checkpoint"):
		return nil, refuse("checkpoints may be those of other containers")
	}
	if rest == "rename" {
		if err := o.checkNames(); err != nil {
			return nil, err
		}
	}
	id, err := o.resolve(o.segments[1])
	if err != nil {
		return nil, err
	}
	o.segments[1] = id
	return &Forward{URI: o.uri(o.query)}, nil
}

func (o *owning) exec() (*Forward, error) {
	missing := refusal{text: "no such exec session", notFound: true}
	if len(o.segments) != 3 || !refPattern.MatchString(o.segments[1]) {
		return nil, missing
	}
	owner, err := o.Exec(o.segments[1])
	if err == nil && owner != o.owner {
		err = missing
	}
	return &Forward{URI: o.uri(o.query)}, err
}

// uri returns the request target with another query.
func (o *owning) uri(query string) string {
	u := url.URL{Path: o.version + "/" + strings.Join(o.segments, "/"), RawQuery: query}
	return u.RequestURI()
}

// limit limits a granted request to the owner's containers, or denies it.
func (d *Decision) limit(owner string, r Request) {
	err := refuse("only authz-broker front can distinguish them, for Docker and Podman")
	if r.owners != nil {
		d.Forward, err = own(owner, r)
	}
	if err == nil {
		return
	}
	var why refusal
	if !errors.As(err, &why) {
		why.text = "ask the engine: " + err.Error()
	}
	d.Forward, d.Reason, d.Detail, d.notFound = nil, NotOwn, why.text, why.notFound
}
