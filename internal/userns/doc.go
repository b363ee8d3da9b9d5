// Package userns holds the packages that change a root filesystem for a container with a user
// namespace.
//
// Reading order: idattr maps the ids in access control lists and capabilities; walk visits all
// files of a tree; journal keeps records of a tree; shift changes the owners of all files, so that
// a crash loses nothing; idmount makes idmapped mounts instead; remap is the OCI hook and the
// runtime wrapper that use both.
//
// These packages import only packages of linux, cli and oci.
package userns
