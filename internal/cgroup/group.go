package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/sys"
)

// reopenAfter is how long a file that was not there is taken not to be there: on v2 it comes when a controller is enabled.
const reopenAfter = time.Second

// file is a file of a cgroup that is read through a level.
type file int

const (
	fileMemoryStat file = iota
	fileMemoryUsage
	fileMemswUsage
	fileSwappiness
	fileMemoryMax
	fileSwapMax
	fileSwapUsage
	fileCPUMax
	fileQuota
	filePeriod
	fileCPUStat
	fileUsageAll
	fileUsagePerCPU
	fileAcctStat
	fileCPUs
	fileCPUsOld
	fileIOStat
	fileThrottleCount
	fileThrottleBytes
	fileBFQCount
	fileBFQBytes
	fileCFQCount
	fileCFQBytes
	fileCFQMerged
	fileCFQTime
	fileCFQQueued
	filePids
	files // their number
)

var v1Files = [files]string{
	fileMemoryStat:    "memory.stat",
	fileMemoryUsage:   "memory.usage_in_bytes",
	fileMemswUsage:    "memory.memsw.usage_in_bytes",
	fileSwappiness:    "memory.swappiness",
	fileQuota:         "cpu.cfs_quota_us",
	filePeriod:        "cpu.cfs_period_us",
	fileUsageAll:      "cpuacct.usage_all",
	fileUsagePerCPU:   "cpuacct.usage_percpu",
	fileAcctStat:      "cpuacct.stat",
	fileCPUs:          "cpuset.effective_cpus",
	fileCPUsOld:       "cpuset.cpus",
	fileThrottleCount: "blkio.throttle.io_serviced_recursive",
	fileThrottleBytes: "blkio.throttle.io_service_bytes_recursive",
	fileBFQCount:      "blkio.bfq.io_serviced_recursive",
	fileBFQBytes:      "blkio.bfq.io_service_bytes_recursive",
	fileCFQCount:      "blkio.io_serviced_recursive",
	fileCFQBytes:      "blkio.io_service_bytes_recursive",
	fileCFQMerged:     "blkio.io_merged_recursive",
	fileCFQTime:       "blkio.io_service_time_recursive",
	fileCFQQueued:     "blkio.io_queued_recursive",
	filePids:          "pids.current",
}

var v2Files = [files]string{
	fileMemoryStat:  "memory.stat",
	fileMemoryUsage: "memory.current",
	fileMemoryMax:   "memory.max",
	fileSwapMax:     "memory.swap.max",
	fileSwapUsage:   "memory.swap.current",
	fileCPUMax:      "cpu.max",
	fileCPUStat:     "cpu.stat",
	fileCPUs:        "cpuset.cpus.effective",
	fileIOStat:      "io.stat",
	filePids:        "pids.current",
}

// Scratch is the memory that the questions work in; it belongs to one thread at a time.
type Scratch struct{ text []byte }

// maxScratch bounds the buffer that is kept for the next call, in bytes.
const maxScratch = 64 << 10

func (s *Scratch) trim() {
	if cap(s.text) > maxScratch {
		s.text = nil
	}
}

// Group is a cgroup in all hierarchies. It may be asked by several threads at once; Close must not be called while one does.
type Group struct {
	fs *FS
	// chains are the cgroup and its ancestors in each hierarchy, itself first; empty where it is not known.
	chains [][]level
}

// level is a cgroup in one hierarchy, with its files as far as they were read.
type level struct {
	v2    bool
	dir   string
	files [files]atomic.Pointer[openedFile]
}

// openedFile is an open file, or a file that did not exist at the last attempt to open it.
type openedFile struct {
	file    sys.File
	missing time.Time
}

// errMissing tells of a file that is not there.
var errMissing = errors.New("cgroup file is not there")

// Open prepares the questions of the cgroup at p. Its files are opened when they are first asked for.
func (fs *FS) Open(p Paths) *Group {
	g := &Group{fs: fs, chains: make([][]level, len(fs.hierarchies))}
	for i := range fs.hierarchies {
		if i >= len(p.of) || p.of[i] == "" {
			continue
		}
		if fs.hierarchies[i].dirOf(p.of[i]) == fs.hierarchies[i].dir {
			g.chains[i] = fs.tops[i]
		} else {
			g.chains[i] = fs.hierarchies[i].chain(p.of[i])
		}
	}
	return g
}

// maxLevels bounds the length of a chain: a container can nest cgroups to any depth.
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
	levels := make([]level, len(dirs))
	for i, dir := range dirs {
		levels[i].v2, levels[i].dir = h.v2, dir
	}
	return levels
}

// Close closes the files, but for those that all groups share.
func (g *Group) Close() {
	closed := 0
	for h, chain := range g.chains {
		if len(chain) > 0 && &chain[0] == &g.fs.tops[h][0] {
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

// chain is the cgroup and its ancestors in the hierarchy of a controller; nil where there is none.
func (g *Group) chain(c controller) []level {
	if i := g.fs.of[c]; i >= 0 {
		return g.chains[i]
	}
	return nil
}

// unified is the cgroup and its ancestors on v2.
func (g *Group) unified() []level {
	if g.fs.unified < 0 {
		return nil
	}
	return g.chains[g.fs.unified]
}

// read returns the text of a file of the level, in s.
func (l *level) read(f file, s *Scratch) ([]byte, error) {
	o, cached, err := l.open(f)
	if err != nil {
		return nil, err
	}
	s.text, err = o.ReadText(s.text)
	if !cached {
		o.Close()
	}
	if errors.Is(err, syscall.EOPNOTSUPP) { // the kernel has the file, but not what it would tell
		return nil, errMissing
	}
	return s.text, err
}

// open returns a file of the level. The file stays open for later calls, unless too many files are
// open: then cached is false, and the caller must close it.
func (l *level) open(f file) (opened sys.File, cached bool, err error) {
	name := v1Files[f]
	if l.v2 {
		name = v2Files[f]
	}
	for {
		o := l.files[f].Load()
		if o != nil && o.file.IsOpen() {
			return o.file, true, nil
		}
		if name == "" || o != nil && time.Since(o.missing) < reopenAfter {
			return sys.File{}, false, errMissing
		}
		opening := new(openedFile)
		if opening.file, err = sys.Open(l.dir + "/" + name); errors.Is(err, os.ErrNotExist) {
			opening.missing = time.Now()
			_, err = os.Lstat(l.dir) // a cgroup that was removed is not one without the file
		}
		if err != nil {
			return sys.File{}, false, err
		}
		if opening.file.IsOpen() && !sys.ReserveFDs(1) {
			return opening.file, false, nil
		}
		if !l.files[f].CompareAndSwap(o, opening) && opening.file.IsOpen() { // another reader was faster
			opening.file.Close()
			sys.AddReservedFDs(-1)
		}
	}
}
