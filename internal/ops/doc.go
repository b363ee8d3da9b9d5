// Package ops is the directory of the packages that show the state of a host to its administrator.
//
// Reading order: top shows running containers and their resources; doctor finds problems and their
// remedies, and makes the status of all parts of a host from them.
//
// These packages may import all others except lxcfs. No package of another directory imports them.
package ops
