package audit

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// publicKeys are the keys of Docker's queries whose values are no secrets. Others are redacted:
// build arguments, labels and changes of an image often are secrets.
var publicKeys = []string{
	"all", "cachefrom", "cgroupparent", "checkpoint", "condition", "container", "copyUIDGID",
	"cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems", "cpushares", "dangling", "details",
	"detachKeys", "digests", "dockerfile", "encodedTag", "exit", "extrahosts", "filters", "follow",
	"force", "forcerm", "fromImage", "fromSrc", "h", "id", "insertDefaults", "keep-storage", "limit",
	"link", "logs", "manifests", "memory", "memswap", "name", "names", "networkmode", "no-trunc",
	"nocache", "noOverwriteDirNonDir", "noprune", "one-shot", "path", "pause", "platform", "ps_args",
	"pull", "q", "remote", "repo", "rm", "rollback", "scope", "session", "shared-size", "shmsize",
	"signal", "since", "size", "squash", "status", "stderr", "stdin", "stdout", "stream", "t", "tag",
	"tail", "target", "term", "timeout", "timestamps", "type", "until", "v", "verbose", "version",
	"w",
}

// urlKeys are the publicKeys whose values are URLs, which may contain a password or a token.
var urlKeys = []string{"fromSrc", "remote"}

const redacted = "..."

// queryPair matches a pair of a query, which may be empty. Old engines also accept ; as a
// separator.
var queryPair = regexp.MustCompile(`[^&;]*`)

// redactURI returns a request target without the values of its query that may be secrets.
func redactURI(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	path = redactUserinfo(path)
	if !found || query == "" {
		return path
	}
	if last := len(query) - 1; query[last] == '&' || query[last] == ';' {
		query = query[:last]
	}
	return path + "?" + queryPair.ReplaceAllStringFunc(query, redactPair)
}

// redactPair returns a key=value pair of a query without secrets.
func redactPair(pair string) string {
	key, value, found := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(key)
	isPublic := err == nil && slices.Contains(publicKeys, name)
	switch {
	case !found && !isPublic:
		return redacted
	case !isPublic:
		return key + "=" + redacted
	case !found || !slices.Contains(urlKeys, name):
		return pair
	}
	address, err := url.QueryUnescape(value)
	if err != nil {
		return key + "=" + redacted
	}
	address, _, _ = strings.Cut(address, "?")
	address, _, _ = strings.Cut(address, "#")
	return key + "=" + url.QueryEscape(redactUserinfo(address))
}

// redactUserinfo returns a URL without the user and password.
func redactUserinfo(address string) string {
	scheme, rest, found := strings.Cut(address, "//")
	if !found {
		scheme, rest = "", address
	} else {
		scheme += "//"
	}
	host, path, hasPath := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = redacted + host[i:]
	}
	if hasPath {
		host += "/" + path
	}
	return scheme + host
}
