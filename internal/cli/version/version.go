// Package version tells which version of Palisade this is.
package version

// version is set when the program is linked: -ldflags "-X palisade/internal/cli/version.version=v1.2.3".
var version = "unknown"

// String is the version, as git describes the source.
func String() string { return version }
