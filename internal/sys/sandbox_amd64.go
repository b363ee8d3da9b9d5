package sys

import "golang.org/x/sys/unix"

// archCalls are readerCalls that not all architectures have.
var archCalls = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_POLL, unix.SYS_NEWFSTATAT, unix.SYS_ARCH_PRCTL}
