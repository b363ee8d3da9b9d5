package cgroup

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"palisade/internal/linux/sys"
)

// minNoLimit is the lowest value of a v1 limit that is not set: LONG_MAX rounded down to a page, of
// any page size.
const minNoLimit = 1 << 62

// Memory sets m except m.Huge. If swap is false it does not read the files of swap, and m.Swap is
// zero.
func (g *Group) Memory(m *Memory, swap bool, s *Scratch) error {
	chain := g.chain(ctrlMemory)
	if len(chain) == 0 {
		return fmt.Errorf("read memory: %w", ErrNoController)
	}
	*m = Memory{Huge: m.Huge[:0]}
	read := memoryV1
	if chain[0].v2 {
		read = memoryV2
	}
	if err := read(chain, m, swap, s); errors.Is(err, errMissing) {
		return fmt.Errorf("read memory: %w", ErrNoController)
	} else if err != nil {
		return fmt.Errorf("read memory: %w", err)
	}
	return nil
}

// readValue reads a file with a number.
func (l *level) readValue(f file, s *Scratch) (uint64, error) {
	text, err := l.read(f, s)
	if err != nil {
		return 0, err
	}
	n, ok := value(text)
	if !ok {
		return 0, fmt.Errorf("parse file in %s: %.100q is not a number", l.dir, text)
	}
	return n, nil
}

// memoryV2 reads the limits of the whole chain, since an ancestor may have a lower one. A cgroup
// without the controller is charged to the closest ancestor with it, whose values are used if a
// limit is set: without one they would be mostly those of other cgroups.
func memoryV2(chain []level, m *Memory, swap bool, s *Scratch) (err error) {
	own := len(chain)
	m.Usage, err = chain[0].readValue(fileMemoryUsage, s)
	for errors.Is(err, errMissing) && len(chain) > 1 {
		chain = chain[1:]
		m.Usage, err = chain[0].readValue(fileMemoryUsage, s)
	}
	if err != nil {
		return err
	}
	if m.Limit, err = lowest(chain, fileMemoryMax, s); err != nil {
		return err
	}
	if m.Limit == NoLimit && len(chain) < own {
		return errMissing
	}
	text, err := chain[0].read(fileMemoryStat, s)
	if err != nil {
		return err
	}
	m.Stat.parseV2(text)
	if !swap {
		return nil
	}
	m.Swap.Usage, err = chain[0].readValue(fileSwapUsage, s)
	if errors.Is(err, errMissing) {
		return nil // swap is not accounted
	} else if err != nil {
		return err
	}
	m.Swap.Accounted = true
	m.Swap.Limit, err = lowest(chain, fileSwapMax, s)
	return err
}

// lowest returns the lowest limit in the chain. A cgroup without the file has none.
func lowest(chain []level, f file, s *Scratch) (uint64, error) {
	limit := uint64(NoLimit)
	for i := range chain {
		n, err := chain[i].readValue(f, s)
		if errors.Is(err, errMissing) {
			continue
		} else if err != nil {
			return 0, err
		}
		limit = min(limit, n)
	}
	return limit, nil
}

// memoryV1 takes the limits from memory.stat, which includes those of ancestors.
func memoryV1(chain []level, m *Memory, swap bool, s *Scratch) (err error) {
	l := &chain[0]
	var both uint64
	if swap {
		// Before the usage without swap, so that memory allocated in between does not count as
		// swap.
		both, err = l.readValue(fileMemswUsage, s)
		m.Swap.Accounted = err == nil
		if err != nil && !errors.Is(err, errMissing) {
			return err
		}
	}
	if m.Usage, err = l.readValue(fileMemoryUsage, s); err != nil {
		return err
	}
	text, err := l.read(fileMemoryStat, s)
	if err != nil {
		return err
	}
	memoryLimit, bothLimit := m.Stat.parseV1(text)
	m.Limit = orNoLimit(memoryLimit)
	if !m.Swap.Accounted {
		return nil
	}
	m.Swap.Usage = saturatingSub(both, m.Usage)
	if m.Swap.Limit = orNoLimit(bothLimit); m.Swap.Limit != NoLimit {
		m.Swap.Limit = saturatingSub(bothLimit, memoryLimit)
	}
	swappiness, err := l.readValue(fileSwappiness, s)
	if err == nil && swappiness == 0 { // no more pages will be swapped out
		m.Swap.Limit = m.Swap.Usage
	} else if errors.Is(err, errMissing) {
		return nil
	}
	return err
}

func orNoLimit(n uint64) uint64 {
	if n == 0 || n >= minNoLimit {
		return NoLimit
	}
	return n
}

// parseV2 parses memory.stat of v2 (Documentation/admin-guide/cgroup-v2.rst).
func (m *MemoryStat) parseV2(text []byte) {
	for key, n := range keyNumbers(text) {
		if field := m.v2Field(key); field != nil {
			*field = n
		}
	}
}

func (m *MemoryStat) v2Field(key []byte) *uint64 {
	switch string(key) {
	case "anon":
		return &m.Anon
	case "file":
		return &m.File
	case "kernel_stack":
		return &m.KernelStack
	case "pagetables":
		return &m.PageTables
	case "sec_pagetables":
		return &m.SecPageTables
	case "percpu":
		return &m.Percpu
	case "shmem":
		return &m.Shmem
	case "zswap":
		return &m.Zswap
	case "zswapped":
		return &m.Zswapped
	case "file_mapped":
		return &m.FileMapped
	case "file_dirty":
		return &m.FileDirty
	case "file_writeback":
		return &m.FileWriteback
	case "swapcached":
		return &m.SwapCached
	case "anon_thp":
		return &m.AnonTHP
	case "file_thp":
		return &m.FileTHP
	case "shmem_thp":
		return &m.ShmemTHP
	case "inactive_anon":
		return &m.InactiveAnon
	case "active_anon":
		return &m.ActiveAnon
	case "inactive_file":
		return &m.InactiveFile
	case "active_file":
		return &m.ActiveFile
	case "unevictable":
		return &m.Unevictable
	case "slab_reclaimable":
		return &m.SlabReclaimable
	case "slab_unreclaimable":
		return &m.SlabUnreclaimable
	case "slab":
		return &m.Slab
	}
	return nil
}

// parseV1 parses the values of memory.stat of v1 that include descendants, and returns the
// effective limits of memory and memory+swap (Documentation/admin-guide/cgroup-v1/memory.rst,
// section 5.2).
func (m *MemoryStat) parseV1(text []byte) (memoryLimit, bothLimit uint64) {
	for key, n := range keyNumbers(text) {
		switch string(key) {
		case "hierarchical_memory_limit":
			memoryLimit = n
		case "hierarchical_memsw_limit":
			bothLimit = n
		}
		if field := m.v1Field(key); field != nil {
			*field = n
		}
	}
	return memoryLimit, bothLimit
}

func (m *MemoryStat) v1Field(key []byte) *uint64 {
	switch string(key) {
	case "total_cache":
		return &m.File
	case "total_rss":
		return &m.Anon
	case "total_rss_huge":
		return &m.AnonTHP
	case "total_shmem":
		return &m.Shmem
	case "total_mapped_file":
		return &m.FileMapped
	case "total_dirty":
		return &m.FileDirty
	case "total_writeback":
		return &m.FileWriteback
	case "total_swapcached":
		return &m.SwapCached
	case "total_inactive_anon":
		return &m.InactiveAnon
	case "total_active_anon":
		return &m.ActiveAnon
	case "total_inactive_file":
		return &m.InactiveFile
	case "total_active_file":
		return &m.ActiveFile
	case "total_unevictable":
		return &m.Unevictable
	}
	return nil
}

// Slabinfo appends memory.kmem.slabinfo of v1 to dst, which is empty since Linux 5.9.
func (g *Group) Slabinfo(dst []byte) ([]byte, error) {
	chain := g.chain(ctrlMemory)
	if len(chain) == 0 || chain[0].v2 {
		return dst, ErrNoController
	}
	text, err := sys.ReadFile(chain[0].dir+"/memory.kmem.slabinfo", nil)
	// Without kernel memory accounting the file is missing or unreadable.
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO) {
		return dst, ErrNoController
	}
	return append(dst, text...), err
}
