package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// MoveTo moves the calling thread to a CPU, from which the scheduler may move it on. It does
// nothing if the thread's affinity mask excludes the CPU. CPUs that are offline leave the mask.
func MoveTo(cpu int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mask, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if !mask.IsSet(cpu) {
		return nil
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil { // EINVAL: the CPU has gone offline
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &mask))
}
