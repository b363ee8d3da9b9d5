//go:build !amd64 && !arm64 && !riscv64 && !loong64

package sys

// archReaderCalls and archGoCalls are unused: there is no filter for these architectures.
var archReaderCalls, archGoCalls []uint32
