package ktext

import (
	"math"
	"testing"
)

func TestNumber(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "007": 7, "18446744073709551615": math.MaxUint64,
		"18446744073709551616": math.MaxUint64, "99999999999999999999999": math.MaxUint64,
	} {
		if got, ok := Number([]byte(text)); got != want || !ok {
			t.Errorf("%q: got %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1 ", "1x", "x"} {
		if n, ok := Number([]byte(text)); ok {
			t.Errorf("%q: got %d", text, n)
		}
	}
	if n, ok := Number32([]byte("4294967296")); ok {
		t.Errorf("33 bits: got %d", n)
	}
}

func TestField(t *testing.T) {
	for line, want := range map[string][2]string{
		"": {"", ""}, " \t\n": {"", ""}, "a": {"a", ""}, " a\tb c\n": {"a", "\tb c\n"},
	} {
		field, rest := Field([]byte(line))
		if string(field) != want[0] || string(rest) != want[1] {
			t.Errorf("%q: got %q, %q, want %q", line, field, rest, want)
		}
	}
}

func TestSaturation(t *testing.T) {
	const most = math.MaxUint64
	for _, tt := range [][2]uint64{
		{Add(most-1, 1), most}, {Add(most, 1), most}, {Sub(3, 2), 1}, {Sub(2, 3), 0},
		{Mul(most/2, 2), most - 1}, {Mul(most/2, 3), most}, {Mul(most, 0), 0},
	} {
		if tt[0] != tt[1] {
			t.Errorf("got %d, want %d", tt[0], tt[1])
		}
	}
}
