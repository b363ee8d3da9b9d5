// Package cpulist parses and formats CPU lists such as "0-3,8", as in cpuset.cpus and
// /sys/devices/system/cpu/online (cpuset(7), "List format").
package cpulist

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"palisade/internal/linux/ktext"
)

// MaxCPU is the largest accepted CPU number: NR_CPUS is at most 8192.
const MaxCPU = 8191

// Set is a set of CPU numbers, a bit for each. The zero Set is empty.
type Set [(MaxCPU + 1) / 64]uint64

// Of returns the set of the given CPUs.
func Of(cpus ...int) Set {
	var s Set
	for _, c := range cpus {
		s.Add(c)
	}
	return s
}

// Parse sets s to a list such as "0-3,8\n", which may be empty.
func (s *Set) Parse(text []byte) error {
	*s = Set{}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil
	}
	for part := range bytes.SplitSeq(text, []byte{','}) {
		low, high, isRange := bytes.Cut(part, []byte{'-'})
		first, ok := number(low)
		last := first
		if ok && isRange {
			last, ok = number(high)
		}
		if !ok || last < first {
			return fmt.Errorf("parse CPU list %.100q: bad part %.40q", text, part)
		}
		for c := first; c <= last; c++ {
			s.Add(c)
		}
	}
	return nil
}

func number(text []byte) (int, bool) {
	n, ok := ktext.Number(text)
	return int(n), ok && n <= MaxCPU
}

// Add adds the CPU to the set. Numbers outside 0..MaxCPU are ignored.
func (s *Set) Add(cpu int) {
	if cpu >= 0 && cpu <= MaxCPU {
		s[cpu/64] |= 1 << (cpu % 64)
	}
}

// Has reports whether the CPU is in the set.
func (s *Set) Has(cpu int) bool {
	return cpu >= 0 && cpu <= MaxCPU && s[cpu/64]&(1<<(cpu%64)) != 0
}

// Len returns the number of CPUs in the set.
func (s *Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Next returns the lowest CPU of the set that is not below from, or -1. To iterate over the set:
//
//	for c := s.Next(0); c >= 0; c = s.Next(c + 1)
func (s *Set) Next(from int) int {
	from = max(from, 0)
	for i := from / 64; i < len(s); i++ {
		w := s[i]
		if i == from/64 {
			w &= ^uint64(0) << (from % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// Intersect removes the CPUs from s that are not in t.
func (s *Set) Intersect(t *Set) {
	for i := range s {
		s[i] &= t[i]
	}
}

// Append appends the set to dst in the kernel's list format ("%*pbl"), without a newline.
func (s *Set) Append(dst []byte) []byte { return s.AppendFrom(dst, 0) }

// AppendFrom is Append for the CPUs that are not below from.
func (s *Set) AppendFrom(dst []byte, from int) []byte {
	start := len(dst)
	for first := s.Next(from); first >= 0; {
		last := first
		for s.Has(last + 1) {
			last++
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(first), 10)
		if last > first {
			dst = append(dst, '-')
			dst = strconv.AppendInt(dst, int64(last), 10)
		}
		first = s.Next(last + 1)
	}
	return dst
}

// ParseMask sets s to a hexadecimal mask such as "f,0000000f\n" ("%*pb"), and returns the number of
// its digits.
func (s *Set) ParseMask(text []byte) (digits int, err error) {
	*s = Set{}
	text = bytes.TrimSpace(text)
	for i := len(text) - 1; i >= 0; i-- {
		c := text[i]
		if c == ',' && digits > 0 && digits%8 == 0 {
			continue
		}
		digit := strings.IndexByte(hexDigits, c)
		if digit < 0 || digits == len(s)*16 {
			return 0, fmt.Errorf("parse CPU mask %.100q: bad character %q or too long", text, c)
		}
		s[digits/16] |= uint64(digit) << (digits % 16 * 4)
		digits++
	}
	return digits, nil
}

const hexDigits = "0123456789abcdef"

// AppendMask appends the lowest 4*digits CPUs of the set to dst as the kernel's hexadecimal mask
// ("%*pb"), without a newline: groups of eight digits, separated by commas.
func (s *Set) AppendMask(dst []byte, digits int) []byte {
	for i := min(digits, len(s)*16) - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[s[i/16]>>(i%16*4)&15])
		if i > 0 && i%8 == 0 {
			dst = append(dst, ',')
		}
	}
	return dst
}

// String returns the set in the kernel's list format.
func (s Set) String() string { return string(s.Append(nil)) }
