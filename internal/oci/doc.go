// Package oci reads and changes what the OCI runtime specification defines for hooks and runtime
// wrappers: the state on a hook's stdin, and a bundle's configuration with its hooks.
//
// Below it, idmap maps ids between containers and the host, wrapper is the common part of runtime
// wrappers, and wiring parses and writes the configurations of engines.
//
// These packages import only packages of linux and cli.
package oci
