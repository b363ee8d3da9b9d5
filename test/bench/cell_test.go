package main

import (
	"testing"
	"time"
)

func TestMedians(t *testing.T) {
	got := medians([]result{
		{P50: 50, Mean: 60, SameCPU: 1}, {P50: 130, Mean: 140, SameCPU: 0},
		{P50: 54, Mean: 58, SameCPU: 1}, {P50: 900, Mean: 950, SameCPU: 0},
	})
	want := result{P50: 92, Mean: 100, SameCPU: 0.5, P50Same: 52, P50Cross: 515}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUsage(t *testing.T) {
	before := map[string]thread{"1": {5 * time.Millisecond, 0}, "2": {time.Millisecond, 0}}
	after := map[string]thread{
		"1": {6 * time.Millisecond, 0}, "2": {4 * time.Millisecond, 1}, "3": {time.Millisecond, 0},
	}
	if used, cpu := usage(before, after); used != 5*time.Millisecond || cpu != 1 {
		t.Errorf("got %v, CPU %d, want 5ms, CPU 1", used, cpu)
	}
}
