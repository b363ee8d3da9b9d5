package procfs

import (
	"bytes"
	"errors"

	"palisade/internal/linux/ktext"
)

// HugePageSize returns the size of a transparent huge page in bytes, or 0 if the kernel has none.
func (fs *FS) HugePageSize() uint64 {
	text, err := fs.sys.ReadFileAt("kernel/mm/transparent_hugepage/hpage_pmd_size", nil)
	if err != nil {
		return 0
	}
	size, _ := ktext.Number(bytes.TrimSpace(text))
	return size
}

// Vmstat is /proc/vmstat, or the same file of a NUMA node, which has fewer lines.
type Vmstat struct {
	// Lines are in the kernel's order.
	Lines []VmstatLine
}

// VmstatLine is a line "key value".
type VmstatLine struct {
	Key   []byte
	Value uint64
}

// ParseVmstat parses /proc/vmstat, and skips malformed lines. The result refers to text.
func ParseVmstat(text []byte) (*Vmstat, error) {
	v := &Vmstat{Lines: make([]VmstatLine, 0, bytes.Count(text, []byte{'\n'})+1)}
	for line := range bytes.Lines(text) {
		key, rest := ktext.Field(line)
		if n, ok := ktext.Number(bytes.TrimSpace(rest)); ok {
			v.Lines = append(v.Lines, VmstatLine{key, n})
		}
	}
	if len(v.Lines) == 0 {
		return nil, errors.New("no line")
	}
	return v, nil
}
