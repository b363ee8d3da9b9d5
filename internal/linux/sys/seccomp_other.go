//go:build arm64 || riscv64 || loong64

package sys

import "golang.org/x/sys/unix"

// archReaderCalls and archGoCalls are those readerCalls and goCalls that some architectures lack.
var (
	archReaderCalls = []uint32{unix.SYS_FSTATAT}
	archGoCalls     []uint32
)
