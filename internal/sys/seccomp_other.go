//go:build arm64 || riscv64 || loong64

package sys

import "golang.org/x/sys/unix"

// archReaderCalls and archGoCalls are the readerCalls and goCalls that only some architectures have.
var (
	archReaderCalls = []uint32{unix.SYS_FSTATAT}
	archGoCalls     []uint32
)
