package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"

	"palisade/internal/linux/ktext"
	"palisade/internal/linux/sys"
)

// minNoLimit is the lowest value of a v1 limit that is not set: LONG_MAX rounded down to a page, of
// any page size.
const minNoLimit = 1 << 62

// Memory sets m except m.Huge. If swap is false it does not read the files of swap, and m.Swap is
// zero.
func (g *Group) Memory(m *Memory, swap bool, s *Scratch) error {
	chain := g.chain("memory")
	if len(chain) == 0 {
		return fmt.Errorf("read memory: %w", ErrNoController)
	}
	*m = Memory{Huge: m.Huge[:0]}
	read := memoryV1
	if chain[0].v2 {
		read = memoryV2
	}
	return wrap("read memory", read(chain, m, swap, s))
}

// wrap adds what was done to the error of a read. A missing file means that there is no controller.
func wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errMissing):
		err = ErrNoController
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (l *level) readValue(f file, s *Scratch) (uint64, error) {
	text, err := l.read(f, s)
	if err != nil {
		return 0, err
	}
	return parseValue(text, l.dir)
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
	m.Stat.parse(text, "")
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
	err := each(chain, func(l *level) error {
		n, err := l.readValue(f, s)
		if err == nil {
			limit = min(limit, n)
		}
		return err
	})
	return limit, err
}

// memoryV1 takes the limits from memory.stat, which includes those of ancestors
// (Documentation/admin-guide/cgroup-v1/memory.rst, section 5.2).
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
	m.Stat.parse(text, "total_")
	var memoryLimit, bothLimit uint64
	for key, n := range keyNumbers(text) {
		switch string(key) {
		case "hierarchical_memory_limit":
			memoryLimit = n
		case "hierarchical_memsw_limit":
			bothLimit = n
		}
	}
	m.Limit = orNoLimit(memoryLimit)
	if !m.Swap.Accounted {
		return nil
	}
	m.Swap.Usage = ktext.Sub(both, m.Usage)
	if m.Swap.Limit = orNoLimit(bothLimit); m.Swap.Limit != NoLimit {
		m.Swap.Limit = ktext.Sub(bothLimit, memoryLimit)
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

// parse parses memory.stat. On v1 the keys of the values that include descendants have a prefix.
func (m *MemoryStat) parse(text []byte, prefix string) {
	for key, n := range keyNumbers(text) {
		if !bytes.HasPrefix(key, []byte(prefix)) {
			continue
		}
		if field := statFields[string(key[len(prefix):])]; field != nil {
			*field(m) = n
		}
	}
}

// statFields maps the keys of memory.stat of v2 (Documentation/admin-guide/cgroup-v2.rst), and
// those that v1 names differently, to fields.
var statFields = map[string]func(*MemoryStat) *uint64{
	"anon":               func(m *MemoryStat) *uint64 { return &m.Anon },
	"file":               func(m *MemoryStat) *uint64 { return &m.File },
	"kernel_stack":       func(m *MemoryStat) *uint64 { return &m.KernelStack },
	"pagetables":         func(m *MemoryStat) *uint64 { return &m.PageTables },
	"sec_pagetables":     func(m *MemoryStat) *uint64 { return &m.SecPageTables },
	"percpu":             func(m *MemoryStat) *uint64 { return &m.Percpu },
	"shmem":              func(m *MemoryStat) *uint64 { return &m.Shmem },
	"zswap":              func(m *MemoryStat) *uint64 { return &m.Zswap },
	"zswapped":           func(m *MemoryStat) *uint64 { return &m.Zswapped },
	"file_mapped":        func(m *MemoryStat) *uint64 { return &m.FileMapped },
	"file_dirty":         func(m *MemoryStat) *uint64 { return &m.FileDirty },
	"file_writeback":     func(m *MemoryStat) *uint64 { return &m.FileWriteback },
	"swapcached":         func(m *MemoryStat) *uint64 { return &m.SwapCached },
	"anon_thp":           func(m *MemoryStat) *uint64 { return &m.AnonTHP },
	"file_thp":           func(m *MemoryStat) *uint64 { return &m.FileTHP },
	"shmem_thp":          func(m *MemoryStat) *uint64 { return &m.ShmemTHP },
	"inactive_anon":      func(m *MemoryStat) *uint64 { return &m.InactiveAnon },
	"active_anon":        func(m *MemoryStat) *uint64 { return &m.ActiveAnon },
	"inactive_file":      func(m *MemoryStat) *uint64 { return &m.InactiveFile },
	"active_file":        func(m *MemoryStat) *uint64 { return &m.ActiveFile },
	"unevictable":        func(m *MemoryStat) *uint64 { return &m.Unevictable },
	"slab_reclaimable":   func(m *MemoryStat) *uint64 { return &m.SlabReclaimable },
	"slab_unreclaimable": func(m *MemoryStat) *uint64 { return &m.SlabUnreclaimable },
	"slab":               func(m *MemoryStat) *uint64 { return &m.Slab },

	"cache":       func(m *MemoryStat) *uint64 { return &m.File },
	"rss":         func(m *MemoryStat) *uint64 { return &m.Anon },
	"rss_huge":    func(m *MemoryStat) *uint64 { return &m.AnonTHP },
	"mapped_file": func(m *MemoryStat) *uint64 { return &m.FileMapped },
	"dirty":       func(m *MemoryStat) *uint64 { return &m.FileDirty },
	"writeback":   func(m *MemoryStat) *uint64 { return &m.FileWriteback },

	// Before Linux 6.0 there are only these sums. Later the values of direct reclaim follow them.
	"pgscan":  func(m *MemoryStat) *uint64 { return &m.Events[scanDirect] },
	"pgsteal": func(m *MemoryStat) *uint64 { return &m.Events[stealDirect] },
}

func init() {
	for e := firstInStat; e < NumEvents; e++ {
		statFields[eventNames[e]] = func(m *MemoryStat) *uint64 { return &m.Events[e] }
	}
}

// Slabinfo appends memory.kmem.slabinfo of v1 to dst, which is empty since Linux 5.9.
func (g *Group) Slabinfo(dst []byte) ([]byte, error) {
	chain := g.chain("memory")
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
