package sys

import "golang.org/x/sys/unix"

// archReaderCalls and archGoCalls are the readerCalls and goCalls that only some architectures have.
var (
	archReaderCalls = []uint32{unix.SYS_POLL, unix.SYS_NEWFSTATAT}
	archGoCalls     = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
)
