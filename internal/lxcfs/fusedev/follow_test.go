package fusedev

import (
	"slices"
	"testing"
)

// lookups records when the follower looks for the reader's CPU.
type lookups struct {
	Handler
	opens int
	at    []int
}

func (l *lookups) CPU(*Request) (int, bool) {
	l.at = append(l.at, l.opens)
	return 0, false
}

func TestFollower(t *testing.T) {
	tests := []struct {
		name string
		// tids are the readers of successive OPENs; 0 is a pause.
		tids []uint32
		want []int
	}{
		{"one reader", slices.Repeat([]uint32{5}, 40), []int{16, 32}},
		{"readers in turn", slices.Repeat([]uint32{5, 6}, 40), nil},
		{"another reader", slices.Concat(slices.Repeat([]uint32{5}, 10), slices.Repeat([]uint32{6}, 20)),
			[]int{26}},
		{"few files after each pause", slices.Repeat([]uint32{5, 5, 5, 5, 0}, 40), nil},
		{"many files after a pause", append([]uint32{5, 0}, slices.Repeat([]uint32{5}, 20)...), []int{18}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f follower
			l := new(lookups)
			for _, tid := range tt.tids {
				l.opens++
				if tid == 0 {
					f.paused()
					continue
				}
				f.opened(&Request{TID: tid}, l)
			}
			if !slices.Equal(l.at, tt.want) {
				t.Errorf("looked at OPENs %v, want %v", l.at, tt.want)
			}
		})
	}
	var f follower
	l := new(lookups)
	for range 40 {
		f.opened(&Request{}, l)
	}
	if l.at != nil {
		t.Errorf("looked for an unknown reader at OPENs %v", l.at)
	}
}
