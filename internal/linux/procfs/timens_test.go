package procfs

import (
	"testing"
	"time"
)

// TestParseBootOffset parses text of Linux 6.18, and text that no kernel writes.
func TestParseBootOffset(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic           7         8\nboottime       -38106         5\n": -38106*time.Second + 5,
		"monotonic           0         0\nboottime    86400 999999999\n":     86401*time.Second - 1,
	} {
		if got, err := ParseBootOffset([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "monotonic 1 2\n", "boottime", "boottime 1", "boottime x 0", "boottime 1 -2",
		"boottime 1 1000000000", "boottime 9999999999 0", "boottime -9223372036854775808 0",
	} {
		if got, err := ParseBootOffset([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func FuzzParseBootOffset(f *testing.F) {
	f.Add([]byte("monotonic           0         0\nboottime       -38106         5\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := ParseBootOffset(text); err != nil && d != 0 {
			t.Errorf("got %v and %v", d, err)
		}
	})
}
