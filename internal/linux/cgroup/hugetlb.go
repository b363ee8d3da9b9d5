package cgroup

import (
	"errors"
	"fmt"
	"os"

	"palisade/internal/linux/sys"
)

type hugePageSize struct {
	bytes uint64
	name  string // in the file names of the hugetlb controller, such as 2MB
}

// hugePageSizes returns the supported sizes, each of which has a directory such as
// hugepages-2048kB.
func hugePageSizes(dir string) []hugePageSize {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // a kernel without huge pages
	}
	var sizes []hugePageSize
	for _, e := range entries {
		var kB uint32
		if _, err := fmt.Sscanf(e.Name(), "hugepages-%dkB", &kB); err != nil || kB == 0 {
			continue
		}
		name := fmt.Sprintf("%dKB", kB) // mem_fmt() of mm/hugetlb_cgroup.c
		if kB >= 1<<20 {
			name = fmt.Sprintf("%dGB", kB>>20)
		} else if kB >= 1<<10 {
			name = fmt.Sprintf("%dMB", kB>>10)
		}
		sizes = append(sizes, hugePageSize{uint64(kB) << 10, name})
	}
	return sizes
}

// HugePages sets m.Huge. It opens the files in each call.
func (g *Group) HugePages(m *Memory, s *Scratch) error {
	m.Huge = m.Huge[:0]
	chain := g.chain("hugetlb")
	if len(chain) == 0 {
		return nil
	}
	limitFile, usageFile := ".limit_in_bytes", ".usage_in_bytes"
	if chain[0].v2 {
		limitFile, usageFile = ".max", ".current"
	}
	for _, size := range g.fs.hugePages {
		huge := HugePages{PageSize: size.bytes, Limit: NoLimit}
		prefix := "/hugetlb." + size.name
		var err error
		huge.Usage, err = s.readFile(chain[0].dir + prefix + usageFile)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		for i := range chain {
			limit, err := s.readFile(chain[i].dir + prefix + limitFile)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if err == nil && limit < minNoLimit {
				huge.Limit = min(huge.Limit, limit)
			}
		}
		m.Huge = append(m.Huge, huge)
	}
	return nil
}

func (s *Scratch) readFile(path string) (n uint64, err error) {
	if s.text, err = sys.ReadFile(path, s.text); err != nil {
		return 0, err
	}
	return parseValue(s.text, path)
}
