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
	// maxDirs bounds the walk through the descendants of a cgroup, of which a container can create
	// any number.
	maxDirs = 1024
	// maxListed is the size limit of one list of threads in bytes: more than 100,000 threads.
	maxListed = 1 << 20
)

// Tasks returns the number of threads in the cgroup and its descendants. It needs the pids
// controller.
func (g *Group) Tasks(s *Scratch) (int, bool) {
	chain := g.chain("pids")
	if len(chain) == 0 {
		return 0, false
	}
	n, err := chain[0].readValue(filePids, s)
	return int(n), err == nil && n < 1<<31
}

// Threads appends at most limit threads in the cgroup and its descendants to dst. Once it has found a
// thread, it reads no further cgroup after the time until. The ids are those in the caller's pid
// namespace.
func (g *Group) Threads(dst []int, limit int, until time.Time, s *Scratch) ([]int, error) {
	chain, name := g.unified(), "cgroup.threads"
	// On a hybrid host the container may be in the root of v2, so v1 has precedence.
	for _, c := range [...]string{"pids", "memory", "cpu", "cpuacct"} {
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
		name: name, threads: dst, limit: len(dst) + limit, scratch: s,
		dirs: []string{chain[0].dir},
	}
	if err := w.visit(w.dirs[0]); err != nil {
		return dst, fmt.Errorf("list threads: %w", err)
	}
	for i := 1; i < len(w.dirs) && len(w.threads) < w.limit; i++ {
		if len(w.threads) > len(dst) && time.Now().After(until) {
			break
		}
		if err := w.visit(w.dirs[i]); err != nil && !isGone(err) {
			return dst, fmt.Errorf("list threads: %w", err)
		}
	}
	return w.threads, nil
}

type threadWalk struct {
	name    string
	threads []int
	limit   int
	// dirs are the cgroups that were found.
	dirs    []string
	scratch *Scratch
}

// visit adds the threads and children of a cgroup.
func (w *threadWalk) visit(path string) error {
	dir, err := sys.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := w.collect(dir); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for len(w.dirs) < maxDirs {
		entries, err := dir.ReadEntries(buf)
		if len(entries) == 0 || err != nil {
			return err
		}
		for e, ok := entries.Next(); ok && len(w.dirs) < maxDirs; e, ok = entries.Next() {
			if e.IsDir {
				w.dirs = append(w.dirs, path+"/"+e.Name.String())
			}
		}
	}
	return nil
}

// isGone reports whether a cgroup was removed, or is too deep for a path.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV) ||
		errors.Is(err, syscall.ENAMETOOLONG)
}

func (w *threadWalk) collect(dir sys.File) (err error) {
	w.scratch.text, err = dir.ReadSomeAt(w.name, maxListed, w.scratch.text)
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
		if len(w.threads) >= w.limit {
			break
		}
		if n, ok := value(line); ok && n > 0 && n < 1<<31 {
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
