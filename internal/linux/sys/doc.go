// Package sys wraps the system calls that the other packages use. It is the only importer of
// golang.org/x/sys/unix: it retries after EINTR, opens every descriptor close-on-exec, and returns
// every failure as an *os.PathError or *os.SyscallError.
package sys
