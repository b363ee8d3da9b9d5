package lxcfs

import (
	"os"
	"strconv"
	"testing"
	"time"

	"palisade/internal/inject/probe"
)

// TestReadsLeaveNoDescriptors reads all files of a container, of the host and below containers/.
func TestReadsLeaveNoDescriptors(t *testing.T) {
	f, _, init := newFake(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	files := []string{"sys/devices/system/cpu/cpu1/core_id", "sys/devices/system/cpu/online",
		"sys/devices/system/node/node1/meminfo", "sys/devices/system/node/node1/cpumap"}
	for _, name := range listFake(t, f, idProc, init) {
		if name != "pressure" {
			files = append(files, "proc/"+name, probe.ContainersDir+"/"+strconv.Itoa(init)+"/"+name)
		}
	}
	before := 0
	for i := range 50 {
		for _, file := range files {
			for _, tid := range []int{init, os.Getpid()} {
				if id, status := lookupFake(t, f, file, tid); status.Ok() {
					readFake(t, f, id, tid)
				}
			}
		}
		f.finder.Principal(uint32(init), 0).Release()
		if i == 5 {
			f.finder.Evict()
			before = open()
		}
	}
	f.finder.Evict()
	for end := time.Now().Add(10 * time.Second); open() > before; {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors are open, %d before", open(), before)
		}
		time.Sleep(time.Millisecond)
	}
}
