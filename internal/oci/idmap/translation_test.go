package idmap

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func pair(t testing.TB, text string) Pair {
	t.Helper()
	if text == "" {
		return Pair{}
	}
	m, err := ParseMap(text)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{m, m}
}

// apply applies all steps to an id.
func apply(steps []Step, id uint32) (uint32, Kind) {
	kind := Done
	for _, s := range steps {
		var k Kind
		if id, k = s.UID.To(id); k != Done {
			kind = k
		}
	}
	return id, kind
}

func TestChange(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	for _, tt := range []struct {
		name, from, to string
		squash         *uint32
		want           map[uint32]uint32
		unmapped       []uint32
	}{
		{"shift", "", "0:100000:65535", nil, map[uint32]uint32{0: 100000, 65534: 165534, 100000: 100000,
			165534: 165534},
			[]uint32{65535, 99999, 165535, Max}},
		{"unshift", "0:100000:65535", "", nil,
			map[uint32]uint32{100000: 0, 165534: 65534, 0: 0, 65534: 65534}, []uint32{65535, 165535}},
		{"A to B", "0:100000:65535", "0:300000:65535", nil,
			map[uint32]uint32{100000: 300000, 165534: 365534, 0: 300000, 300005: 300005},
			[]uint32{65535, 200000}},
		{"two extents", "", "0:1000:1,1:100000:999", nil,
			map[uint32]uint32{0: 1000, 1: 100000, 999: 100998, 1000: 1000}, []uint32{1001}},
		{"joined extents", "0:1000:1,1:100000:999", "0:200000:1000", nil,
			map[uint32]uint32{1000: 200000, 100000: 200001, 100998: 200999, 5: 200005}, nil},
		{"smaller map", "0:100000:1000", "0:200000:10", nil, map[uint32]uint32{100009: 200009},
			[]uint32{100010, 100999}},
		{"the same", "0:100000:10", "0:100000:10", nil, map[uint32]uint32{100000: 100000, 5: 100005},
			[]uint32{10}},
		{"identity", "", "0:0:100", nil, map[uint32]uint32{5: 5}, []uint32{100}},
		{"squash", "", "0:100000:65535", id(65534),
			map[uint32]uint32{0: 100000, 70000: 165534, 165534: 165534, Max: 165534}, nil},
		{"squash back", "0:100000:65535", "", id(7), map[uint32]uint32{100000: 0, 70000: 7, 5: 5}, nil},
		{"last ids", "", "0:4294901760:65535", nil, map[uint32]uint32{65534: Max, 0: 4294901760}, nil},
	} {
		c := Change{From: pair(t, tt.from), To: pair(t, tt.to), Squash: tt.squash}
		park, err := c.FindPark(new(IDBlocks))
		if park != 0 || err != nil {
			t.Errorf("%s: parked at %d, %v", tt.name, park, err)
		}
		steps, err := c.Steps()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for from, want := range tt.want {
			if got, _ := apply(steps, from); got != want {
				t.Errorf("%s: %d becomes %d, want %d", tt.name, from, got, want)
			}
			if got, _ := c.Total().UID.To(from); got != want {
				t.Errorf("%s: %d has the total %d, want %d", tt.name, from, got, want)
			}
		}
		for _, from := range tt.unmapped {
			if got, kind := apply(steps, from); got != from || kind != Unmapped {
				t.Errorf("%s: %d becomes %d, kind %d; it is not mapped", tt.name, from, got, kind)
			}
		}
	}
}

// TestOverlap covers ids that are parked because those before and after overlap.
func TestOverlap(t *testing.T) {
	used := new(IDBlocks)
	for _, id := range []uint32{0, 5, 1000, 70000, 1<<32 - 1<<16*2} {
		used.Add(id)
	}
	c := Change{To: pair(t, "0:1000:64000")}
	if _, err := c.Steps(); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("without parking: %v", err)
	}
	var err error
	if c.Park, err = c.FindPark(used); err != nil || c.Park == 0 || c.Park == 1<<32-1<<16*2 ||
		uint64(c.Park)+64000 > 1<<32-1<<16 {
		t.Fatalf("parked at %d, %v", c.Park, err)
	}
	steps, err := c.Steps()
	if err != nil || len(steps) != 2 {
		t.Fatalf("%v, %v", steps, err)
	}
	for from, want := range map[uint32]uint32{0: 1000, 1000: 2000, 63999: 64999, 64500: 64500} {
		if got, _ := apply(steps, from); got != want {
			t.Errorf("%d becomes %d, want %d", from, got, want)
		}
	}
	for from, want := range map[uint32]Kind{0: Moved, 64500: Done, c.Park: Moved,
		c.Park + 64000: Unmapped, 65000: Unmapped} {
		if _, kind := c.Total().UID.To(from); kind != want {
			t.Errorf("%d has kind %d, want %d", from, kind, want)
		}
	}
	c.Squash = new(uint32)
	if _, err := c.Steps(); err == nil || !strings.Contains(err.Error(), "squashed") {
		t.Errorf("squashed: %v", err)
	}
	full := new(IDBlocks)
	for i := range full {
		full[i] = 1<<64 - 1
	}
	if _, err := c.FindPark(full); err == nil {
		t.Error("a range was found in a full set")
	}
}

// TestBadPark covers ranges that can only come from a forged record.
func TestBadPark(t *testing.T) {
	for _, park := range []uint32{1, 500, 1000, 64999, Max, 4294967290, 1<<32 - 64000} {
		c := Change{To: pair(t, "0:1000:64000"), Park: park}
		if _, err := c.Steps(); err == nil {
			t.Errorf("ids are parked at %d", park)
		}
	}
}

func TestSquashNowhere(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		id       uint32
	}{{"", "0:100000:10", 10}, {"", "0:100000:10", 100000}, {"0:100000:10", "", 10},
		{"0:100000:10", "", 100000}} {
		c := Change{From: pair(t, tt.from), To: pair(t, tt.to), Squash: &tt.id}
		if steps, err := c.Steps(); err == nil {
			got, _ := apply(steps, 5000)
			t.Errorf("%+v: ids are squashed to %d", tt, got)
		}
		c.Total() // does not panic
	}
}

// randomMap returns a map of a few extents among few ids, so that overlaps are frequent.
func randomMap(r *rand.Rand) Map {
	for {
		var m Map
		for range 1 + r.IntN(3) {
			m = append(m, Extent{r.Uint32N(40), r.Uint32N(80), 1 + r.Uint32N(20)})
		}
		if m.Check() == nil {
			return m
		}
	}
}

// TestIdempotent checks that for all maps no step changes its own results, and that Total agrees
// with the steps: interrupted changes depend on both.
func TestIdempotent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	parked, direct := 0, 0
	for range 3000 {
		var c Change
		if r.IntN(2) == 0 {
			m := randomMap(r)
			c.From = Pair{m, m}
		}
		if m := randomMap(r); c.From.IsZero() || r.IntN(3) > 0 {
			c.To = Pair{m, m}
		}
		used := new(IDBlocks)
		used.Add(0)
		var err error
		if c.Park, err = c.FindPark(used); err != nil {
			t.Fatal(err)
		}
		if c.Park != 0 {
			parked++
		} else {
			direct++
		}
		steps, err := c.Steps()
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		for id := range uint32(120) {
			for n, s := range steps {
				once, _ := s.UID.To(id)
				if twice, _ := s.UID.To(once); twice != once {
					t.Fatalf("%v, step %d: %d becomes %d, then %d", c, n, id, once, twice)
				}
			}
			got, kind := apply(steps, id)
			if _, total := c.Total().UID.To(id); (total == Unmapped) != (kind == Unmapped) {
				t.Fatalf("%v: %d becomes %d, kind %d, Total has kind %d", c, id, got, kind, total)
			}
		}
	}
	if parked < 100 || direct < 100 {
		t.Errorf("%d were parked, %d not", parked, direct)
	}
}

// TestThereAndBack checks that a change back undoes a change.
func TestThereAndBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		m := randomMap(r)
		to, back := Change{To: Pair{m, m}}, Change{From: Pair{m, m}}
		for _, c := range []*Change{&to, &back} {
			var err error
			if c.Park, err = c.FindPark(new(IDBlocks)); err != nil {
				t.Fatal(err)
			}
		}
		first, err := to.Steps()
		if err != nil {
			t.Fatal(err)
		}
		second, err := back.Steps()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m {
			for id := e.Container; id < e.Container+e.Size; id++ {
				host, _ := apply(first, id)
				if want, _ := m.Host(id); host != want {
					t.Fatalf("%v: %d becomes %d, want %d", m, id, host, want)
				}
				if got, _ := apply(second, host); got != id {
					t.Fatalf("%v: %d becomes %d, and then %d", m, id, host, got)
				}
			}
		}
	}
}

func TestIDBlocks(t *testing.T) {
	var a IDBlocks
	a.Add(0)
	a.Add(Max)
	var got []uint32
	for block := range uint32(1 << 16) {
		if a.has(block) {
			got = append(got, block)
		}
	}
	if !slices.Equal(got, []uint32{0, 65535}) {
		t.Errorf("blocks %v", got)
	}
}
