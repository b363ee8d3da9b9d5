package sys

import "golang.org/x/sys/unix"

// archReaderCalls and archGoCalls are those readerCalls and goCalls that some architectures lack.
var (
	archReaderCalls = []uint32{unix.SYS_POLL, unix.SYS_NEWFSTATAT}
	archGoCalls     = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
)
