package lxcfs

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

var _ calls.Handler = (*FS)(nil)

// abi is an ABI of system calls on this machine. x32 is not among them: the bit in its numbers
// makes them unknown.
type abi struct {
	sysinfo, getaffinity int32
	is32Bit              bool
}

// Values of seccomp_data.arch, from linux/audit.h.
const (
	auditX86_64    = 0xc000003e
	auditI386      = 0x40000003
	auditARM64     = 0xc00000b7
	auditARM       = 0x40000028
	auditRISCV64   = 0xc00000f3
	auditLoongArch = 0xc0000102
)

var abis = map[string]map[uint32]abi{
	"amd64": {auditX86_64: {99, 204, false}, auditI386: {116, 242, true}},
	"arm64": {auditARM64: {179, 123, false}, auditARM: {116, 242, true}},
	// These have the numbers of asm-generic/unistd.h.
	"riscv64": {auditRISCV64: {179, 123, false}},
	"loong64": {auditLoongArch: {179, 123, false}},
}[runtime.GOARCH]

// AnswerCall answers sysinfo(2) and sched_getaffinity(2). The kernel executes all other calls, and
// those that fail.
func (f *FS) AnswerCall(
	filter int, call *sys.NotifiedCall, dst []byte,
) (calls.Answer, bool) {
	abi, ok := abis[call.Arch]
	if !ok {
		return calls.Answer{}, false
	}
	r := f.getReader(call.TID)
	defer f.putReader(r)
	r.hint = &f.hints[filter]
	answer := calls.Answer{}
	var render renderFunc
	switch call.Number {
	case abi.sysinfo:
		r.file = meter.Sysinfo
		render = func(r *reader, dst []byte) ([]byte, error) {
			answer.Address = call.Args[0]
			return renderSysinfo(r, dst, abi.is32Bit)
		}
	case abi.getaffinity:
		r.file = meter.Affinity
		render = func(r *reader, dst []byte) ([]byte, error) {
			data, err := renderAffinity(r, dst, call, abi.is32Bit)
			answer.Address, answer.Value = call.Args[2], int64(len(data)-len(dst))
			return data, err
		}
	default:
		return calls.Answer{}, false
	}
	began := time.Now()
	answer.Data, ok = r.renderFor(r.file.String(), render, dst)
	f.meter.Read(r.file, time.Since(began))
	return answer, ok
}

func renderSysinfo(r *reader, dst []byte, is32Bit bool) ([]byte, error) {
	total, err := r.readMemory()
	if err != nil {
		return dst, err
	}
	var s view.Sysinfo
	s.SetMemory(total, &r.mem, r.fs.opts.Memory)
	uptime, err := r.uptime(r.age())
	if err != nil {
		return dst, err
	}
	s.Uptime = uint64((uptime + time.Second - 1) / time.Second) // rounded up, as in the kernel
	if r.fs.opts.Loadavg {
		tasks, err := r.shownTasks()
		if err != nil {
			return dst, err
		}
		s.SetLoad(view.Load{Avg: r.fs.stateOf(r.c).loadavg(), Tasks: tasks})
	} else {
		s.Loads, s.Procs = total.Loads, uint64(total.Procs)
	}
	if is32Bit {
		return s.Append32(dst), nil
	}
	return s.Append64(dst), nil
}

// errNativeCall makes the kernel execute a call. It is not logged.
var errNativeCall = errHostContent

// maxMask is the size of an affinity mask of 8192 CPUs, the most that Linux supports.
const maxMask = 8192 / 8

// renderAffinity appends the first CPUs of a thread's own affinity mask, as many as the quota of its
// container amounts to. r.c is the container of the caller, which can only name threads in it and
// in those nested in it.
func renderAffinity(r *reader, dst []byte, call *sys.NotifiedCall, is32Bit bool) ([]byte, error) {
	if err := r.readCPUs(); err != nil {
		return dst, err
	}
	tid, err := r.target(int32(call.Args[0]))
	if err != nil {
		return dst, errNativeCall // the thread does not exist, or cannot be found
	}
	var mask [maxMask]byte
	size, err := sys.Affinity(tid, mask[:])
	if err != nil {
		return dst, errNativeCall
	}
	length, word := int(uint32(call.Args[1])), 8
	if is32Bit {
		word = 4
	}
	if length%word != 0 || length*8 < r.fs.maxCPUs {
		return dst, errNativeCall // EINVAL
	}
	if !truncate(mask[:size], r.cpus.Len()) {
		return dst, errNativeCall
	}
	return append(dst, mask[:min(size, length)]...), nil
}

// truncate clears all but the first n bits that are set in a mask of the kernel. It returns false if
// there are no others.
func truncate(mask []byte, n int) bool {
	order := binary.NativeEndian
	isChanged := false
	for i := 0; i+8 <= len(mask); i += 8 {
		word, kept := order.Uint64(mask[i:]), uint64(0)
		for ; word != 0 && n > 0; n-- {
			kept |= word & -word
			word &= word - 1
		}
		isChanged = isChanged || bits.OnesCount64(word) > 0
		order.PutUint64(mask[i:], kept)
	}
	return isChanged
}

// target returns the id of the thread that the caller names by a number in its own pid namespace.
func (r *reader) target(number int32) (tid int, err error) {
	if number == 0 {
		return int(r.tid), nil
	}
	ns, err := r.fs.proc.OpenAt(strconv.Itoa(int(r.tid)) + "/ns/pid")
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	tid, err = ns.PIDFromNamespace(int(number))
	if errors.Is(err, syscall.ENOTTY) {
		return r.searchTarget(ns, int(number))
	}
	return tid, err
}

// searchTarget finds the thread on kernels before 6.11, among those of the container.
func (r *reader) searchTarget(ns sys.File, number int) (tid int, err error) {
	own, err := ns.Inode()
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(countTime)
	r.threads, err = r.c.Group.Threads(r.threads[:0], maxCounted, until, &r.files)
	if err != nil {
		return 0, err
	}
	for _, tid := range r.threads {
		if time.Now().After(until) {
			break
		}
		dir, err := r.fs.proc.OpenDirAt(strconv.Itoa(tid))
		if err != nil {
			continue // it has ended
		}
		inode, err := dir.ReadNamespace([]byte("ns/pid\x00"), make([]byte, 64))
		var status procfs.TaskStatus
		if err == nil && inode == own {
			status, err = procfs.ReadTaskStatus(dir)
		}
		dir.Close()
		if n := len(status.NSPids); err == nil && n > 0 && status.NSPids[n-1] == number {
			return tid, nil
		}
	}
	return 0, syscall.ESRCH
}
