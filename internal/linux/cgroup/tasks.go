package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"time"

	"palisade/internal/linux/sys"
)

const (
	// maxDepth and maxDirs bound the walk through the descendants of a cgroup, of which a container
	// can create any number.
	maxDepth = 16
	maxDirs  = 1024
	// maxListed is the size limit of one list of threads in bytes: more than 100,000 threads.
	maxListed = 1 << 20
	// entriesPerRead is the approximate number of directory entries per getdents64(2).
	entriesPerRead = 128
)

// TaskList bounds Group.Threads.
type TaskList struct {
	// Limit is the maximum number of threads.
	Limit int
	// Until is the time after which no further cgroup is read.
	Until time.Time
}

// Tasks returns the number of threads in the cgroup and its descendants. It needs the pids
// controller.
func (g *Group) Tasks(s *Scratch) (int, bool) {
	chain := g.chain(ctrlPids)
	if len(chain) == 0 {
		return 0, false
	}
	n, err := chain[0].readValue(filePids, s)
	return int(n), err == nil && n < 1<<31
}

// Threads appends the threads in the cgroup and its descendants to dst, within the bounds of list.
// The ids are those in the caller's pid namespace.
func (g *Group) Threads(dst []int, list TaskList, s *Scratch) ([]int, error) {
	chain, name := g.unified(), "cgroup.threads"
	// On a hybrid host the container may be in the root of v2, so v1 has precedence.
	for _, c := range [...]controller{ctrlPids, ctrlMemory, ctrlCPU, ctrlCPUAcct} {
		if own := g.chain(c); len(own) > 0 && !own[0].v2 {
			chain, name = own, "tasks"
			break
		}
	}
	if len(chain) == 0 {
		return dst, fmt.Errorf("list threads: %w", ErrNoController)
	}
	defer s.trim()
	w := threadWalk{
		name: name, threads: dst, limit: len(dst) + list.Limit, until: list.Until, scratch: s,
	}
	dir, err := sys.Open(chain[0].dir)
	if err != nil {
		return dst, fmt.Errorf("list threads: %w", err)
	}
	defer dir.Close()
	if err := w.visit(dir, 0); err != nil {
		return dst, fmt.Errorf("list threads: %w", err)
	}
	return w.threads, nil
}

type threadWalk struct {
	name    string
	threads []int
	limit   int
	dirs    int
	until   time.Time
	scratch *Scratch
}

func (w *threadWalk) isOver() bool {
	return len(w.threads) >= w.limit || w.dirs >= maxDirs || time.Now().After(w.until)
}

func (w *threadWalk) visit(dir sys.File, depth int) error {
	if err := w.collect(dir); err != nil {
		return err
	}
	w.dirs++
	if depth == maxDepth || w.isOver() {
		return nil
	}
	buf := make([]byte, entriesPerRead*32)
	for !w.isOver() {
		entries, err := dir.ReadEntries(buf)
		if len(entries) == 0 || err != nil {
			return err
		}
		for e, ok := entries.Next(); ok && !w.isOver(); e, ok = entries.Next() {
			if !e.IsDir {
				continue
			}
			// The cgroup may have been removed.
			if err := w.visitBelow(dir, e.Name.String(), depth+1); err != nil && !isGone(err) {
				return err
			}
		}
	}
	return nil
}

func (w *threadWalk) visitBelow(dir sys.File, name string, depth int) error {
	below, err := dir.OpenAt(name)
	if err != nil {
		return err
	}
	defer below.Close()
	return w.visit(below, depth)
}

func isGone(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV)
}

func (w *threadWalk) collect(dir sys.File) (err error) {
	w.scratch.text, err = dir.ReadSomeInto(w.name, maxListed, w.scratch.text)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return nil // a cgroup of type "domain invalid"
	} else if err != nil {
		return err
	}
	text := w.scratch.text
	if len(text) == maxListed {
		text = text[:bytes.LastIndexByte(text, '\n')+1] // drop an incomplete last line
	}
	for line := range bytes.Lines(text) {
		n, ok := value(line)
		if len(w.threads) >= w.limit {
			break
		}
		if ok && n > 0 && n < 1<<31 {
			w.threads = append(w.threads, int(n))
		}
	}
	return nil
}

// PressurePath returns the path of the cgroup's cpu.pressure, memory.pressure or io.pressure. It
// returns false on v1 and for the root cgroup.
func (g *Group) PressurePath(resource string) (string, bool) {
	chain := g.unified()
	if len(chain) == 0 || chain[0].dir == g.fs.hierarchies[g.fs.unified].dir {
		return "", false
	}
	return chain[0].dir + "/" + resource + ".pressure", true
}
