package action

import "path"

// SplitPath splits the path of a request target, decoded as engines do, into the version of the API,
// such as "/v1.44" or "", and the rest. ok is false if an engine may decode it in another way.
func SplitPath(uri string) (version, rest string, ok bool) {
	p, ok := decodedPath(uri)
	if rest = withoutVersion(p); !ok || path.Clean(rest) != rest && rest != "/networks/" {
		return "", "", false
	}
	return p[:len(p)-len(rest)], rest, true
}
