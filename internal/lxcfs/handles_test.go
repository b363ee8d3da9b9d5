package lxcfs

import (
	"strings"
	"testing"
)

func TestHandles(t *testing.T) {
	hs := newHandles()
	a, b := hs.add(), hs.add()
	if a == b || hs.get(a) == nil || hs.get(b) == nil || hs.get(a) == hs.get(b) {
		t.Fatalf("handles %#x and %#x are not two", a, b)
	}
	hs.keep(hs.get(a), []byte("0123456789"))
	tests := []struct {
		name   string
		offset uint64
		size   int
		want   string
	}{
		{"all", 0, 100, "0123456789"},
		{"a part", 3, 4, "3456"},
		{"the end", 8, 100, "89"},
		{"at the end", 10, 5, ""},
		{"beyond the end", 1 << 62, 5, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := hs.get(a).appendKept([]byte("x"), tt.offset, tt.size)
			if !ok || string(got) != "x"+tt.want {
				t.Errorf("got %q, %v; want %q", got, ok, "x"+tt.want)
			}
		})
	}
	if _, ok := hs.get(b).appendKept(nil, 0, 1); ok {
		t.Error("a handle that was not read has a snapshot")
	}
	hs.remove(a)
	if hs.get(a) != nil || hs.kept.Load() != 0 {
		t.Errorf("a removed handle is there, or its %d bytes are", hs.kept.Load())
	}
	for _, number := range []uint64{0, 1, a - 1<<32, b + 1, ^uint64(0)} {
		if hs.get(number) != nil {
			t.Errorf("handle %#x of nobody is there", number)
		}
		hs.remove(number)
	}
	if c := hs.add(); hs.get(c) == nil {
		t.Error("no handle after one was removed")
	} else if _, ok := hs.get(c).appendKept(nil, 0, 1); ok {
		t.Error("a new handle has the snapshot of an old one")
	}
}

func TestHandlesAreBounded(t *testing.T) {
	hs := newHandles()
	for range maxHandles {
		if hs.add() == 0 {
			t.Fatal("no handle below the bound")
		}
	}
	if number := hs.add(); number != 0 || hs.get(number) != nil {
		t.Errorf("handle %#x beyond the bound", number)
	}
	h := hs.get(hs.epoch | 1)
	text := []byte(strings.Repeat("x", maxKept/4))
	for i := range uint64(8) {
		hs.keep(hs.get(hs.epoch|(i+1)), text)
	}
	if kept := hs.kept.Load(); kept > maxKept {
		t.Errorf("%d bytes are kept, more than %d", kept, maxKept)
	}
	if _, ok := h.appendKept(nil, 0, 1); !ok {
		t.Error("the first snapshot is lost")
	}
	if _, ok := hs.get(hs.epoch|8).appendKept(nil, 0, 1); ok {
		t.Error("the last snapshot is kept, beyond the bound")
	}
	for i := range uint64(maxHandles) {
		hs.remove(hs.epoch | (i + 1))
	}
	if kept := hs.kept.Load(); kept != 0 {
		t.Errorf("%d bytes are kept of no handle", kept)
	}
}
