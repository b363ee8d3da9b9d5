// Package version has the version of the build.
package version

// version is set by the linker: -ldflags "-X palisade/internal/cli/version.version=v1.2.3".
var version = "unknown"

// String returns the version, as git describes the source.
func String() string { return version }
