package action

import (
	_ "embed"
	"net/url"
	"path"
	"strings"
	"sync"
)

// podmanTable holds the routes of Podman 4.3 to 6.0 (pkg/api/server): those that are compatible
// with Docker, and those of libpod, with one that only clients know (shouldrestart). Actions have
// Docker's names where they do the same.
//
// Where two routes match a path, as /libpod/images/scp/push does, the one with the more dangerous
// action comes first. secret_inspect has the class secret, because showsecret=true in its query
// discloses the secret.
//
//go:embed podman-routes.tsv
var podmanTable string

var podmanRoutes = sync.OnceValue(func() []route { return parseRoutes(podmanTable) })

const libpodPrefix = "/libpod/"

// ForPodman returns the action of a request to Podman's API, given the unmodified request target.
// The action is unknown and has no name if no route matches, or if the service might route the
// request differently.
//
// Podman matches the path as it is encoded, and decodes variables later. Only its libpod routes
// require a version, and those of manifests version 4 or later.
func ForPodman(method, uri string) Action {
	p, ok := encodedPath(uri)
	if !ok || path.Clean(p) != p {
		return Unknown("")
	}
	version, rest := cutPodmanVersion(p)
	isLibpod := strings.HasPrefix(rest, libpodPrefix)
	switch {
	case isLibpod && version == "" && rest != "/libpod/_ping",
		strings.HasPrefix(rest, "/libpod/manifests/") && version[0] < '4',
		version == "" && !isLibpod && isTakenForLibpod(uri):
		return Unknown("")
	}
	return find(podmanRoutes(), method, rest)
}

// IsLibpod reports whether the target of a request to Podman is a route of libpod, not of Docker.
func IsLibpod(uri string) bool {
	p, _ := encodedPath(uri)
	_, rest := cutPodmanVersion(p)
	return strings.HasPrefix(rest, libpodPrefix)
}

// encodedPath returns the path of a request target with its percent-encoding. ok is false if the
// decoded path is not clean or contains control characters.
func encodedPath(uri string) (p string, ok bool) {
	decoded, ok := decodedPath(uri)
	if !ok || path.Clean(decoded) != decoded || hasControl(uri) {
		return "", false
	}
	if !strings.Contains(uri, "%") {
		return decoded, true
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return "", false
	}
	return u.EscapedPath(), true
}

// cutPodmanVersion splits a path into the version without /v, such as 4.3.1, and the rest.
func cutPodmanVersion(p string) (version, rest string) {
	after, ok := strings.CutPrefix(p, "/v")
	version, _, found := strings.Cut(after, "/")
	if !ok || !found || version == "" || version[0] < '0' || version[0] > '9' {
		return "", p
	}
	for _, c := range []byte(version) {
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && (c < '0' || c > '9') && c != '.' && c != '-' {
			return "", p
		}
	}
	return version, after[len(version):]
}

// isTakenForLibpod reports whether "libpod" is between the second and the third slash of a target,
// query included: Podman treats such a request without a version as one to libpod.
func isTakenForLibpod(uri string) bool {
	_, rest, _ := strings.Cut(uri, "/")
	_, rest, found := strings.Cut(rest, "/")
	segment, _, _ := strings.Cut(rest, "/")
	return found && segment == "libpod"
}
