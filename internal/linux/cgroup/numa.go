package cgroup

import (
	"bytes"
	"errors"
	"os"

	"palisade/internal/linux/ktext"
)

// NodeStats sets nodes, which is indexed by the number of a NUMA node, to the memory of the cgroup
// and its descendants on each. v1 counts only anonymous memory and the page cache: a value that is
// part of these is the whole, so that its proportion between the nodes is that of the whole. Without
// memory.numa_stat, which v2 has since Linux 5.10, all values are 0.
func (g *Group) NodeStats(nodes []MemoryStat, s *Scratch) error {
	clear(nodes)
	chain := g.chain("memory")
	if len(chain) == 0 {
		return wrap("read memory of nodes", ErrNoController)
	}
	text, err := chain[0].read(fileNUMAStat, s)
	if errors.Is(err, errMissing) {
		return nil
	} else if err != nil {
		return wrap("read memory of nodes", err)
	}
	if chain[0].v2 {
		parseNUMAStat(text, nodes, "", statFields)
		return nil
	}
	parseNUMAStat(text, nodes, "hierarchical_", numaFieldsV1)
	page := uint64(os.Getpagesize())
	for i := range nodes {
		n := &nodes[i]
		n.Anon, n.File = ktext.Mul(n.Anon, page), ktext.Mul(n.File, page)
		n.Unevictable = ktext.Mul(n.Unevictable, page)
		n.ActiveAnon, n.InactiveAnon, n.AnonTHP, n.SwapCached = n.Anon, n.Anon, n.Anon, n.Anon
		n.ActiveFile, n.InactiveFile, n.FileTHP = n.File, n.File, n.File
		n.FileMapped, n.FileDirty, n.FileWriteback = n.File, n.File, n.File
		n.Shmem, n.ShmemTHP = n.Anon, n.Anon // on the lists of anonymous memory
	}
	return nil
}

type memoryField = func(*MemoryStat) *uint64

// numaFieldsV1 maps the keys of v1.
var numaFieldsV1 = map[string]memoryField{
	"anon":        statFields["anon"],
	"file":        statFields["file"],
	"unevictable": statFields["unevictable"],
}

// parseNUMAStat parses lines "key N0=1 N1=2", on v1 "key=3 N0=1 N1=2".
func parseNUMAStat(text []byte, nodes []MemoryStat, prefix string, fields map[string]memoryField) {
	for line := range bytes.Lines(text) {
		key, rest := ktext.Field(line)
		key, _, _ = bytes.Cut(key, []byte{'='})
		if !bytes.HasPrefix(key, []byte(prefix)) {
			continue
		}
		field := fields[string(key[len(prefix):])]
		if field == nil {
			continue
		}
		var part []byte
		for part, rest = ktext.Field(rest); len(part) > 0; part, rest = ktext.Field(rest) {
			name, value, _ := bytes.Cut(part, []byte{'='})
			number, isNode := bytes.CutPrefix(name, []byte{'N'})
			node, ok := ktext.Number(number)
			n, isNumber := ktext.Number(value)
			if isNode && ok && isNumber && node < uint64(len(nodes)) {
				*field(&nodes[node]) = n
			}
		}
	}
}
