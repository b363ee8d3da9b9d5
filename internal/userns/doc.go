// Package userns holds the packages that make a root filesystem fit a container with a user
// namespace.
//
// Reading order: idattr maps the ids in access control lists and capabilities; shift changes the
// owners of all files below a directory, so that a crash at any moment loses nothing; idmount makes
// idmapped mounts instead; remap is the OCI hook and the runtime wrapper that use both.
//
// These packages import no package of lxcfs or of the authorization broker.
package userns
