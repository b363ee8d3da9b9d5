// Package lxcfs is the served file system: a tree of files of /proc and /sys whose text depends on
// the reader. Where it cannot compute a file, the reader gets the host's.
//
// Reading order, which is the way of a read: fusedev receives the request; this package finds the
// file; container finds the reader's container; account adds what the kernel does not count for a
// cgroup; view formats the text. meter counts requests. supervise starts and replaces the process
// that serves them.
//
// These packages import only packages of linux, cli and inject.
package lxcfs
