package ranges

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// wellKnown are ranges that programs use without a record in a file. Those of systemd are from
// https://systemd.io/UIDS-GIDS/.
var wellKnown = []Span{
	{0, 65535, "ids of the host's users, and systemd's dynamic users"},
	// Without the user kubelet in /etc/subuid, pods get the lowest free blocks; 1024 is far more
	// than the default of maxPods, 110.
	{65536, 65536*1025 - 1, "pods of the kubelet"},
	{524288, 1879048191, "containers of systemd-nspawn and systemd-nsresourced"},
	{2147352576, 2147418111, "systemd's foreign ids"},
	// systemd-nspawn marks trees that it is shifting with 0xFFFE0000; 0xFFFFFFFF is (uid_t)-1.
	{4294836224, idmap.Max, "systemd-nspawn's marker, and ids next to (uid_t)-1"},
}

// source is a file that says which ids are taken.
type source struct {
	file  string
	parse func(text []byte, file string) []Span
}

var sources = []source{
	{"/etc/subuid", parseSubids},
	{"/etc/subgid", parseSubids},
	{"/etc/passwd", parseIDs},
	{"/etc/group", parseIDs},
	{"/etc/login.defs", parseLoginDefs},
	{"/etc/nsswitch.conf", func(text []byte, _ string) []Span { return parseNSSwitch(text) }},
	{"/etc/containers/storage.conf", parseStorageConf},
	{"/usr/share/containers/storage.conf", parseStorageConf},
}

// maxSource bounds the size of a source in bytes.
const maxSource = 64 << 20

// configured returns the ids that the host's files and well-known programs take. root is the
// directory that holds etc and usr.
func configured(root string) ([]Span, error) {
	spans := slices.Clone(wellKnown)
	for _, s := range sources {
		text, err := sys.ReadRegular(filepath.Join(root, s.file), maxSource)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find ids that are taken: %w", err)
		}
		spans = append(spans, s.parse(text, s.file)...)
	}
	return spans, nil
}

// running returns the ids that are mapped in the user namespaces of processes. proc is the
// directory /proc.
func running(proc string) ([]Span, error) {
	dir, err := sys.OpenDir(proc)
	if err != nil {
		return nil, fmt.Errorf("find ids of containers: %w", err)
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return nil, fmt.Errorf("find ids of containers: %w", err)
	}
	var spans []Span
	seen := make(map[string]bool)
	var path, link [64]byte
	for _, pid := range names {
		if pid[0] < '1' || pid[0] > '9' {
			continue
		}
		ns, err := dir.ReadlinkAt(append(append(path[:0], pid...), "/ns/user\x00"...), link[:])
		if err != nil || seen[string(ns)] {
			continue // err: it has ended
		}
		maps, err := mapsOf(dir, pid)
		if err != nil {
			continue // it has ended; another process in the namespace is read instead
		}
		seen[string(ns)] = true
		spans = append(spans, maps...)
	}
	return spans, nil
}

// mapsOf returns the ids that are mapped in the user namespace of a process, none for a map of all
// ids, as the host's.
func mapsOf(proc sys.File, pid string) (spans []Span, err error) {
	for _, name := range []string{"uid_map", "gid_map"} {
		text, err := proc.ReadFileAt(pid+"/"+name, nil)
		if err != nil {
			return nil, err
		}
		m, err := idmap.ParseProc(text)
		if err != nil {
			return nil, err
		}
		for _, e := range m {
			if e.Container == 0 && e.Host == 0 && e.Size == 1<<32-1 {
				continue
			}
			by := fmt.Sprintf("%s of process %s", name, pid)
			spans = append(spans, newSpan(e.Host, uint64(max(e.Size, 1)), by))
		}
	}
	return spans, nil
}

// conflict returns the first span that has an id of the range, nil if there is none.
func conflict(taken []Span, first, size uint32) *Span {
	wanted := newSpan(first, uint64(size), "")
	for i := range taken {
		if taken[i].overlaps(wanted) {
			return &taken[i]
		}
	}
	return nil
}
