package cgroup

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"palisade/internal/sys"
)

const (
	// maxDepth and maxDirs bound the walk through the cgroups below one: a container makes them as it likes.
	maxDepth = 16
	maxDirs  = 1024
)

// Tasks is the number of threads in the cgroup and below, where the pids controller tells.
func (g *Group) Tasks(s *Scratch) (int, bool) {
	chain := g.chain(ctrlPids)
	if len(chain) == 0 {
		return 0, false
	}
	n, err := chain[0].readValue(filePids, s)
	return int(n), err == nil && n < 1<<31
}

// Threads appends the ids, in the reader's pid namespace, of the threads in the cgroup and below to dst, limit of them at
// the most.
func (g *Group) Threads(dst []int, limit int, s *Scratch) ([]int, error) {
	chain, name := g.unified(), "cgroup.threads"
	// On a hybrid host the container may be in the root of v2.
	for _, c := range [...]controller{ctrlPids, ctrlMemory, ctrlCPU, ctrlCPUAcct} {
		if own := g.chain(c); len(own) > 0 && !own[0].v2 {
			chain, name = own, "tasks"
			break
		}
	}
	if len(chain) == 0 {
		return dst, fmt.Errorf("list threads: %w", ErrNoController)
	}
	w := threadWalk{name: name, threads: dst, limit: len(dst) + limit, scratch: s}
	if err := w.visit(chain[0].dir, 0); err != nil {
		return dst, fmt.Errorf("list threads: %w", err)
	}
	return w.threads, nil
}

// threadWalk collects threads from a tree of cgroups.
type threadWalk struct {
	name    string
	threads []int
	limit   int
	dirs    int
	scratch *Scratch
}

func (w *threadWalk) visit(dir string, depth int) error {
	if err := w.collect(dir); err != nil {
		return err
	}
	w.dirs++
	if depth == maxDepth || len(w.threads) >= w.limit {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || w.dirs >= maxDirs || len(w.threads) >= w.limit {
			continue
		}
		// Those below may go at any time.
		if err := w.visit(dir+"/"+e.Name(), depth+1); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENODEV) {
			return err
		}
	}
	return nil
}

// collect takes the threads of one cgroup.
func (w *threadWalk) collect(dir string) (err error) {
	if w.scratch.text, err = sys.ReadFile(dir+"/"+w.name, w.scratch.text); errors.Is(err, syscall.EOPNOTSUPP) {
		return nil // a domain whose threads cannot be listed (cgroup v2, "domain invalid")
	} else if err != nil {
		return err
	}
	text := w.scratch.text
	for len(text) > 0 && len(w.threads) < w.limit {
		var line []byte
		line, text = nextLine(text)
		if n, ok := value(line); ok && n > 0 && n < 1<<31 {
			w.threads = append(w.threads, int(n))
		}
	}
	return nil
}

// PressurePath is the path of the cgroup's cpu.pressure, memory.pressure or io.pressure; false where it has none of its
// own: on v1, and in the root.
func (g *Group) PressurePath(resource string) (string, bool) {
	chain := g.unified()
	if len(chain) == 0 || chain[0].dir == g.fs.hierarchies[g.fs.unified].dir {
		return "", false
	}
	return chain[0].dir + "/" + resource + ".pressure", true
}
