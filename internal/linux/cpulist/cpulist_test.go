package cpulist_test

import (
	"strings"
	"testing"

	"palisade/internal/linux/cpulist"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, text, want string
		len              int
		ok               bool
	}{
		{"one", "0\n", "0", 1, true},
		{"a range", "0-3\n", "0-3", 4, true},
		{"ranges and numbers", "0-2,7,12-14", "0-2,7,12-14", 7, true},
		{"out of order and overlapping", "9,3-5,4-6", "3-6,9", 5, true},
		{"beyond a word", "63-65,128", "63-65,128", 4, true},
		{"MaxCPU", "8191", "8191", 1, true},
		{"empty", "\n", "", 0, true},
		{"nothing", "", "", 0, true},
		{"above MaxCPU", "8192", "", 0, false},
		{"above 64 bits", "99999999999999999999999", "", 0, false},
		{"backwards", "3-1", "", 0, false},
		{"not a number", "0,x", "", 0, false},
		{"a sign", "-1", "", 0, false},
		{"an open range", "1-", "", 0, false},
		{"an empty part", "1,,2", "", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := cpulist.Of(1, 5) // must be replaced
			err := s.Parse([]byte(tt.text))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if tt.ok && (s.String() != tt.want || s.Len() != tt.len) {
				t.Errorf("got %q of %d, want %q of %d", s, s.Len(), tt.want, tt.len)
			}
		})
	}
}

func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"3\n": "0-1", "c": "2-3", "00,0000000c\n": "2-3", "01,80000000\n": "31-32", "0\n": "", "\n": "",
	} {
		var s cpulist.Set
		digits, err := s.ParseMask([]byte(text))
		if err != nil || s.String() != want {
			t.Errorf("%q: got %s, %v, want %s", text, s, err, want)
		}
		if got := string(s.AppendMask(nil, digits)); got != strings.TrimSpace(text) {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"x", "1,2", ",", "-1", "F", "0x3", strings.Repeat("f", 8193/4+1)} {
		if _, err := new(cpulist.Set).ParseMask([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestSet(t *testing.T) {
	a, b := cpulist.Of(0, 1, 64, 200), cpulist.Of(1, 64, 65)
	if a.Has(2) || !a.Has(200) || a.Has(-1) || a.Has(1<<20) {
		t.Error("Has is wrong")
	}
	if got := a.Next(2); got != 64 {
		t.Errorf("Next(2) = %d, want 64", got)
	}
	if got := a.Next(201); got != -1 {
		t.Errorf("Next(201) = %d, want -1", got)
	}
	c := a
	c.Intersect(&b)
	if c.String() != "1,64" || a.String() != "0-1,64,200" {
		t.Errorf("got intersection %q, and %q unchanged", c, a)
	}
	c.Add(cpulist.MaxCPU + 1)
	c.Add(-1)
	if c != cpulist.Of(64, 1) || c == a {
		t.Error("equality is wrong")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0-3,8\n", "", "8191", "0-,", "5-3"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s, again cpulist.Set
		if s.Parse(text) != nil {
			return
		}
		if err := again.Parse(s.Append(nil)); err != nil || again != s {
			t.Errorf("%q became %q: %v", s, again, err)
		}
	})
}
