package sys

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMoveTo moves a thread between the CPUs of its affinity mask.
func TestMoveTo(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &mask)
	moved := false
	for cpu := range 1024 {
		if !mask.IsSet(cpu) {
			if err := MoveTo(cpu); err != nil {
				t.Errorf("CPU %d, which is not in the mask: %v", cpu, err)
			}
			continue
		}
		for tries := 0; ; tries++ { // the scheduler may move the thread at once
			if err := MoveTo(cpu); err != nil {
				t.Fatalf("CPU %d: %v", cpu, err)
			}
			if got := getcpu(); got == cpu {
				moved = true
				break
			} else if tries == 1000 {
				t.Fatalf("on CPU %d, want %d", got, cpu)
			}
		}
	}
	if !moved {
		t.Error("the mask is empty")
	}
	var after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if after != mask {
		t.Errorf("affinity mask %v, want %v", after, mask)
	}
	if mask.Count() < 2 {
		return
	}
	here := getcpu()
	var narrow unix.CPUSet
	narrow.Set(here)
	if err := unix.SchedSetaffinity(0, &narrow); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if mask.IsSet(cpu) && cpu != here {
			if err := MoveTo(cpu); err != nil || getcpu() != here {
				t.Errorf("moved from CPU %d to CPU %d outside the mask: %v", here, cpu, err)
			}
		}
	}
}

func getcpu() int {
	var cpu uint32
	unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	return int(cpu)
}
