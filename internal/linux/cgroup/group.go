package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/linux/sys"
)

// missingTime is the time for which a missing file is assumed to be missing. On v2 files appear
// when a controller is enabled.
const missingTime = time.Second

// file is an index of fileNames.
type file int

// fileNames holds the names on v1 and v2, "" if there is no such file.
var fileNames []struct{ v1, v2 string }

func newFile(v1, v2 string) file {
	fileNames = append(fileNames, struct{ v1, v2 string }{v1, v2})
	return file(len(fileNames) - 1)
}

var (
	fileMemoryStat    = newFile("memory.stat", "memory.stat")
	fileNUMAStat      = newFile("memory.numa_stat", "memory.numa_stat")
	fileMemoryEvents  = newFile("memory.oom_control", "memory.events")
	fileMemoryUsage   = newFile("memory.usage_in_bytes", "memory.current")
	fileMemswUsage    = newFile("memory.memsw.usage_in_bytes", "")
	fileSwappiness    = newFile("memory.swappiness", "")
	fileMemoryMax     = newFile("", "memory.max")
	fileSwapMax       = newFile("", "memory.swap.max")
	fileSwapUsage     = newFile("", "memory.swap.current")
	fileCPUMax        = newFile("", "cpu.max")
	fileQuota         = newFile("cpu.cfs_quota_us", "")
	filePeriod        = newFile("cpu.cfs_period_us", "")
	fileCPUStat       = newFile("", "cpu.stat")
	fileUsage         = newFile("cpuacct.usage", "")
	fileUsageAll      = newFile("cpuacct.usage_all", "")
	fileUsagePerCPU   = newFile("cpuacct.usage_percpu", "")
	fileCPUs          = newFile("cpuset.effective_cpus", "cpuset.cpus.effective")
	fileMems          = newFile("cpuset.effective_mems", "cpuset.mems.effective")
	fileIOStat        = newFile("", "io.stat")
	fileThrottleCount = newFile("blkio.throttle.io_serviced_recursive", "")
	fileThrottleBytes = newFile("blkio.throttle.io_service_bytes_recursive", "")
	fileBFQCount      = newFile("blkio.bfq.io_serviced_recursive", "")
	fileBFQBytes      = newFile("blkio.bfq.io_service_bytes_recursive", "")
	fileCFQCount      = newFile("blkio.io_serviced_recursive", "")
	fileCFQBytes      = newFile("blkio.io_service_bytes_recursive", "")
	fileCFQMerged     = newFile("blkio.io_merged_recursive", "")
	fileCFQTime       = newFile("blkio.io_service_time_recursive", "")
	fileCFQQueued     = newFile("blkio.io_queued_recursive", "")
	filePids          = newFile("pids.current", "pids.current")
)

// Scratch is a read buffer that the calls of one thread reuse.
type Scratch struct{ text []byte }

// maxScratch is the size limit of a buffer that is reused, in bytes.
const maxScratch = 64 << 10

func (s *Scratch) trim() {
	if cap(s.text) > maxScratch {
		s.text = nil
	}
}

// Group is a cgroup in all hierarchies. It is safe for concurrent use, except for Close.
type Group struct {
	fs *FS
	// chains holds the cgroup and its ancestors in each hierarchy, from the cgroup upwards. A chain
	// is empty if the cgroup is unknown.
	chains [][]level
}

// level is a cgroup in one hierarchy, with the files that were read.
type level struct {
	v2  bool
	dir string
	// files is indexed by file.
	files []atomic.Pointer[openedFile]
}

// openedFile is an open file, or one that did not exist at the time missing.
type openedFile struct {
	file    sys.File
	missing time.Time
}

var errMissing = errors.New("cgroup file does not exist")

// Open returns the cgroup at p. Its files are opened when they are first read.
func (fs *FS) Open(p Paths) *Group {
	g := &Group{fs: fs, chains: make([][]level, len(fs.hierarchies))}
	for i := range fs.hierarchies {
		if i >= len(p.of) || p.of[i] == "" {
			continue
		}
		if fs.hierarchies[i].dirOf(p.of[i]) == fs.hierarchies[i].dir {
			g.chains[i] = fs.roots[i]
		} else {
			g.chains[i] = fs.hierarchies[i].chain(p.of[i])
		}
	}
	return g
}

// maxLevels bounds the length of a chain, since a container can nest cgroups to any depth.
const maxLevels = 32

// chain returns the levels from the cgroup upwards, without the root cgroup, which has no limits,
// unless it is the cgroup itself. If there are more than maxLevels, those closest above the cgroup
// are omitted: limits that the container has not set itself are further up.
func (h *hierarchy) chain(cgroup string) []level {
	if h.dirOf(cgroup) == "" {
		return nil
	}
	dirs := []string{h.dirOf(cgroup)}
	for p := path.Dir(path.Clean(cgroup)); p != "/" && p != "." && h.dirOf(p) != ""; p = path.Dir(p) {
		dirs = append(dirs, h.dirOf(p))
	}
	if n := len(dirs); n > maxLevels {
		dirs = slices.Delete(dirs, 1, 1+n-maxLevels)
	}
	return h.levels(dirs...)
}

func (h *hierarchy) levels(dirs ...string) []level {
	levels := make([]level, len(dirs))
	for i, dir := range dirs {
		levels[i] = level{h.v2, dir, make([]atomic.Pointer[openedFile], len(fileNames))}
	}
	return levels
}

// Close closes the files, except those that all groups share.
func (g *Group) Close() {
	closed := 0
	for h, chain := range g.chains {
		if len(chain) > 0 && &chain[0] == &g.fs.roots[h][0] {
			continue
		}
		for i := range chain {
			for f := range chain[i].files {
				if o := chain[i].files[f].Swap(nil); o != nil && o.file.IsOpen() {
					o.file.Close()
					closed++
				}
			}
		}
	}
	sys.AddReservedFDs(-closed)
}

// chain returns the cgroup and its ancestors in the hierarchy of a controller, or nil.
func (g *Group) chain(controller string) []level {
	if i := g.fs.indexOf(controller); i >= 0 {
		return g.chains[i]
	}
	return nil
}

func (g *Group) unified() []level { return g.chain("") }

// each calls read for each level of the chain. It skips those without the file.
func each(chain []level, read func(l *level) error) error {
	for i := range chain {
		if err := read(&chain[i]); err != nil && !errors.Is(err, errMissing) {
			return err
		}
	}
	return nil
}

func (l *level) read(f file, s *Scratch) ([]byte, error) {
	o, cached, err := l.open(f)
	if err != nil {
		return nil, err
	}
	s.text, err = o.ReadText(s.text)
	if !cached {
		o.Close()
	}
	if errors.Is(err, syscall.EOPNOTSUPP) { // the feature is disabled
		return nil, errMissing
	}
	return s.text, err
}

// open returns a file of the level. The file stays open for later calls, unless too many files are
// open: then cached is false, and the caller must close it.
func (l *level) open(f file) (opened sys.File, cached bool, err error) {
	name := fileNames[f].v1
	if l.v2 {
		name = fileNames[f].v2
	}
	for {
		o := l.files[f].Load()
		if o != nil && o.file.IsOpen() {
			return o.file, true, nil
		}
		if name == "" || o != nil && time.Since(o.missing) < missingTime {
			return sys.File{}, false, errMissing
		}
		opening := new(openedFile)
		if opening.file, err = sys.Open(l.dir + "/" + name); errors.Is(err, os.ErrNotExist) {
			opening.missing = time.Now()
			_, err = os.Lstat(l.dir) // fails if the cgroup was removed
		}
		if err != nil {
			return sys.File{}, false, err
		}
		if opening.file.IsOpen() && !sys.ReserveFDs(1) {
			return opening.file, false, nil
		}
		if !l.files[f].CompareAndSwap(o, opening) && opening.file.IsOpen() {
			opening.file.Close() // another reader was faster
			sys.AddReservedFDs(-1)
		}
	}
}
