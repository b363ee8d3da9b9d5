package lxcfs

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"palisade/internal/lxcfs/view"
)

// A container has the directories cpu0 to cpu<n-1> for the n CPUs that its cpuinfo lists, and no
// others: programs count them (htop, older glibc), or read cpuN/online, which CPU 0 may lack. cpuI
// is the directory of the CPU of the host that is behind I. The file possible stays the host's,
// since programs size arrays by it that they index with the CPU number of the kernel (rseq(2),
// getcpu(2)).

// cpuNumber parses the name of a CPU's directory: "cpu12" is 12's.
func cpuNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "cpu")
	cpu, err := strconv.Atoi(digits)
	return cpu, ok && err == nil && cpu >= 0 && cpuName(cpu) == name
}

func cpuName(cpu int) string { return "cpu" + strconv.Itoa(cpu) }

// differsByReader reports whether dir/name depends on the reader, so that the kernel must not cache
// it.
func differsByReader(dir, name string) bool {
	_, isCPU := cpuNumber(name)
	return dir == "." && isCPU
}

// toHost translates a name in dir that a reader with the CPUs sees to the host's. A reader of the
// host has nil.
func toHost(dir, name string, cpus *view.CPUs) (string, bool) {
	if cpus == nil || !differsByReader(dir, name) {
		return name, true
	}
	if cpu, ok := cpuNumber(name); ok && cpu < cpus.Len() {
		return cpuName(cpus.Host(cpu)), true
	}
	return "", false
}

// toReader is the inverse of toHost.
func toReader(dir, name string, cpus *view.CPUs) (string, bool) {
	if cpus == nil || !differsByReader(dir, name) {
		return name, true
	}
	if host, ok := cpuNumber(name); ok {
		if cpu, ok := cpus.Index(host); ok {
			return cpuName(cpu), true
		}
	}
	return "", false
}

// withCPUs calls use with the CPUs that the thread's container sees, or with nil if the thread gets
// the host's view.
func (f *FS) withCPUs(tid uint32, use func(*view.CPUs) error) error {
	r := f.readers.Get().(*reader)
	defer func() {
		r.c = nil
		f.readers.Put(r)
	}()
	r.fs, r.tid, r.file = f, tid, cpuDirFile(".")
	read := func(r *reader, dst []byte) ([]byte, error) { return dst, r.readCPUs() }
	if _, ok := f.renderFor(r, "cpu", read, nil); ok {
		return use(&r.cpus)
	}
	return use(nil)
}

// lookupCPUFile returns the host's path of the entry name of dir, as the thread sees it, and the
// time for which the kernel may cache it.
func (f *FS) lookupCPUFile(tid uint32, dir, name string) (p string, valid time.Duration, err error) {
	if !differsByReader(dir, name) {
		return path.Join(dir, name), cpuDirValid, nil
	}
	err = f.withCPUs(tid, func(cpus *view.CPUs) error {
		host, ok := toHost(dir, name, cpus)
		if !ok {
			return syscall.ENOENT
		}
		p = path.Join(dir, host)
		return nil
	})
	return p, 0, err
}

// listCPUDir lists the directory dir as the thread sees it, in the order of the host's names.
func (f *FS) listCPUDir(tid uint32, dir string) ([]cpuDirEntry, error) {
	host, err := f.cpuDir.list(dir)
	if !slices.ContainsFunc(host, func(e cpuDirEntry) bool { return differsByReader(dir, e.name) }) {
		return host, err
	}
	entries := host[:0]
	err2 := f.withCPUs(tid, func(cpus *view.CPUs) error {
		for _, e := range host {
			var ok bool
			if e.name, ok = toReader(dir, e.name, cpus); ok {
				entries = append(entries, e)
			}
		}
		return nil
	})
	return entries, errors.Join(err, err2)
}

// renderCPUDir appends the text of a file below sys/devices/system/cpu: the host's, but for those
// that tell which CPUs there are.
func (f *FS) renderCPUDir(r *reader, id uint64, dst []byte) ([]byte, error) {
	p, err := f.cpuDir.path(id)
	if err != nil {
		return dst, err
	}
	r.file = cpuDirFile(p)
	if render := cpuDirRenderer(p); render != nil {
		if out, ok := f.renderFor(r, "cpu/"+p, render, dst); ok {
			return out, nil
		}
	}
	text, err := f.cpuDir.read(p, r.text)
	r.text = text
	return append(dst, text...), err
}

// cpuDirRenderer returns the renderer of a file that differs from the host's, else nil.
func cpuDirRenderer(p string) renderer {
	switch p {
	case "online", "present", "enabled":
		return func(r *reader, dst []byte) ([]byte, error) {
			err := r.readCPUs()
			return view.CPUOnline(dst, &r.cpus), err
		}
	case "offline":
		return func(r *reader, dst []byte) ([]byte, error) {
			possible, err := r.fs.host.Possible()
			if err != nil {
				return dst, err
			}
			err = r.readCPUs()
			return view.CPUOffline(dst, possible, &r.cpus), err
		}
	}
	cpu, ok := cpuNumber(path.Dir(p))
	if !ok || path.Base(p) != "online" {
		return nil
	}
	return func(r *reader, dst []byte) ([]byte, error) {
		if err := r.readCPUs(); err != nil {
			return dst, err
		}
		if _, ok := r.cpus.Index(cpu); ok {
			return append(dst, "1\n"...), nil
		}
		return append(dst, "0\n"...), nil // the container had the CPU when it opened the file
	}
}
