// Package sys wraps the system calls that the other packages use. It is the only importer of golang.org/x/sys/unix:
// EINTR is retried here, every descriptor is opened close-on-exec here, and every failure comes back as an
// *os.PathError or *os.SyscallError, so that the operation and the path are always in the message.
package sys
