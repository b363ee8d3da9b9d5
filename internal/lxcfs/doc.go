// Package lxcfs is the served file system: a tree of files of /proc and /sys whose content depends
// on the reader. Where it cannot compute a file, the reader gets the host's.
//
// Reading order, which is the way of a read: fusedev receives the request; fs.go finds what the
// reader has begun with in openfile, or else the part of the tree that has the node (fixed.go,
// sysfstree.go, containertree.go); render.go finds the reader's container in container,
// and gathers its values (state.go, and the packages account and disk); view formats
// them. persist keeps what the next worker needs. meter counts requests. supervise starts and
// replaces the process that serves them.
//
// These packages import only packages of linux, cli and inject.
package lxcfs
