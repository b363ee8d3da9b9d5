// Package linux is the directory of the packages that talk to the kernel. They know nothing of
// containers' engines, of lxcfs, or of policies.
//
// Reading order: sys wraps system calls, and is the only importer of golang.org/x/sys/unix; procfs
// parses and caches the host's /proc; cgroup reads cgroup v1, hybrid and v2 through one interface;
// cpulist parses lists of CPUs; lockfile locks files; socket listens on unix sockets.
//
// These packages import no package of another directory.
package linux
