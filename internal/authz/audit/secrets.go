package audit

import (
	"net/url"
	"slices"
	"strings"
)

// harmless are the keys of Docker's queries whose values are no secrets. Values of others are left out: build arguments,
// labels and changes of an image often are.
var harmless = []string{
	"all", "cachefrom", "cgroupparent", "checkpoint", "condition", "container", "copyUIDGID", "cpuperiod", "cpuquota", "cpusetcpus",
	"cpusetmems", "cpushares", "dangling", "details", "detachKeys", "digests", "dockerfile", "encodedTag", "exit", "extrahosts", "filters", "follow",
	"force", "forcerm", "fromImage", "fromSrc", "h", "id", "insertDefaults", "keep-storage", "limit", "link", "logs", "manifests",
	"memory", "memswap", "name", "names", "networkmode", "no-trunc", "nocache", "noOverwriteDirNonDir", "noprune", "one-shot", "path",
	"pause", "platform", "ps_args", "pull", "q", "remote", "repo", "rm", "rollback", "scope", "session", "shared-size", "shmsize",
	"signal", "since", "size", "squash", "status", "stderr", "stdin", "stdout", "stream", "t", "tag", "tail", "target", "term",
	"timeout", "timestamps", "type", "until", "v", "verbose", "version", "w",
}

// addresses are those of them that are URLs, in which there may be a password, and a token in their queries.
var addresses = []string{"fromSrc", "remote"}

const leftOut = "..."

// withoutSecrets is the target of a request without the values of its query that may be secrets.
func withoutSecrets(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	path = withoutUser(path)
	if !found {
		return path
	}
	var b strings.Builder
	b.WriteString(path)
	separator := byte('?')
	for query != "" {
		i := strings.IndexAny(query, "&;") // engines that are old separate by ; too
		if i < 0 {
			i = len(query)
		}
		b.WriteByte(separator)
		b.WriteString(shown(query[:i]))
		if i == len(query) {
			break
		}
		separator, query = query[i], query[i+1:]
	}
	return b.String()
}

// shown is a pair of a query as it may be written.
func shown(pair string) string {
	key, value, found := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(key)
	switch {
	case !found && err == nil && slices.Contains(harmless, name):
		return pair
	case !found:
		return leftOut
	case err != nil || !slices.Contains(harmless, name):
		return key + "=" + leftOut
	case !slices.Contains(addresses, name):
		return pair
	}
	address, err := url.QueryUnescape(value)
	if err != nil {
		return key + "=" + leftOut
	}
	address, _, _ = strings.Cut(address, "?")
	address, _, _ = strings.Cut(address, "#")
	return key + "=" + url.QueryEscape(withoutUser(address))
}

// withoutUser is a URL without the user and password in it.
func withoutUser(address string) string {
	scheme, rest, found := strings.Cut(address, "//")
	if !found {
		scheme, rest = "", address
	} else {
		scheme += "//"
	}
	host, path, hasPath := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = leftOut + host[i:]
	}
	if hasPath {
		host += "/" + path
	}
	return scheme + host
}
