package ranges

import (
	"fmt"
	"testing"
)

// BenchmarkAllocate measures a container's allocation and release, with ranges in the registry and
// the processes of this machine.
func BenchmarkAllocate(b *testing.B) {
	for _, count := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("ranges=%d", count), func(b *testing.B) {
			r, err := open(Dirs{State: b.TempDir(), Lock: b.TempDir(),
				Config: b.TempDir() + "/none"}, "/")
			if err != nil {
				b.Fatal(err)
			}
			r.config = writeBounds(b, "1879048192-2147352575", "2147483648-4294836223")
			a, err := r.newAllocation()
			if err != nil {
				b.Fatal(err)
			}
			for n := range count {
				e := r.newEntry(ForContainer, fmt.Sprintf("container %d", n), BlockSize)
				if _, err := a.find(b.Context(), e, false, nil); err != nil {
					b.Fatal(err)
				}
			}
			for n := 0; b.Loop(); n++ {
				c := Container{fmt.Sprintf("web%d", n), "/b"}
				q := Request{Registry: r, Container: c}
				if _, err := q.ForContainer(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := r.Release(b.Context(), c); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkRunning measures the search for ids of running containers, on this machine.
func BenchmarkRunning(b *testing.B) {
	for b.Loop() {
		if _, err := running("/proc"); err != nil {
			b.Fatal(err)
		}
	}
}
