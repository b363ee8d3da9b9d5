//go:build arm64 || riscv64 || loong64

package sys

import "golang.org/x/sys/unix"

// archCalls are readerCalls that not all architectures have.
var archCalls = []uint32{unix.SYS_FSTATAT}
