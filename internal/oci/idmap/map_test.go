package idmap

import (
	"slices"
	"strings"
	"testing"
)

func TestParseMap(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Map
		err  string
	}{
		{"0:100000:65536", Map{{0, 100000, 65536}}, ""},
		{"0:1000:1,1:100000:65535", Map{{0, 1000, 1}, {1, 100000, 65535}}, ""},
		{"0:4294901760:65535", Map{{0, 4294901760, 65535}}, ""},
		{"0:4294901761:65535", nil, "exceeds the last id"},
		{"4294901761:0:65535", nil, "exceeds the last id"},
		{"0:0:0", nil, "maps nothing"},
		{"", nil, "has 1 fields"},
		{"0:1", nil, "has 2 fields"},
		{"0:1:1,", nil, "has 1 fields"},
		{"0:1:x", nil, `size "x" is no decimal number`},
		{"0:1000:10,9:2000:1", nil, "id maps 0:1000:10 and 9:2000:1 overlap"},
		{"0:1000:10,10:1009:1", nil, "overlap"},
		{"9:2000:1,0:1000:10", nil, "overlap"},
		{strings.Repeat("0:0:1,", 340) + "0:0:1", nil, "want 1 to 340"},
	} {
		got, err := ParseMap(tt.text)
		if tt.err == "" && (err != nil || !slices.Equal(got, tt.want) || got.String() != tt.text) {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.err)
		}
	}
}

func TestParseProc(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"         0     100000      65535\n", "0:100000:65535", ""},
		{"         0       1000          1\n         1     100000      65535\n",
			"0:1000:1,1:100000:65535", ""},
		{"         0          0 4294967295\n", "0:0:4294967295", ""},
		{"", "", ""},
		{"0 1\n", "", "three numbers"},
		{"0 1 x\n", "", "three numbers"}, {"0 1 2 3\n", "", "three numbers"}, {"0 1 -2\n", "", "three numbers"},
		{"0 1 4294967296\n", "", "three numbers"},
	} {
		got, err := ParseProc([]byte(tt.text))
		if got.String() != tt.want && tt.err == "" || (err == nil) != (tt.err == "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v", tt.text, got, err)
		}
	}
}

func TestMaps(t *testing.T) {
	m := Map{{0, 1000, 1}, {1, 100000, 10}}
	for id, want := range map[uint32]uint32{0: 1000, 1: 100000, 10: 100009} {
		if got, ok := m.Host(id); got != want || !ok {
			t.Errorf("%d is %d, %v, want %d", id, got, ok, want)
		}
	}
	if _, ok := m.Host(11); ok {
		t.Error("11 is mapped")
	}
	if !m.Equal(Map{{1, 100000, 10}, {0, 1000, 1}}) || m.Equal(Map{{0, 1000, 1}}) || m.Equal(nil) {
		t.Error("Equal of maps is wrong")
	}
	if m.IsIdentity() || !(Map{{5, 5, 5}}).IsIdentity() {
		t.Error("IsIdentity is wrong")
	}
	p := Pair{m, Map{{0, 1000, 11}}}
	if got := p.String(); got != "uids 0:1000:1,1:100000:10 gids 0:1000:11" {
		t.Errorf("%s", got)
	}
	if (Pair{}).Check() == nil || !(Pair{}).IsZero() || p.IsZero() || !p.Equal(p) ||
		p.Equal(Pair{m, m}) {
		t.Error("Check, IsZero or Equal of pairs is wrong")
	}
	if _, _, ok := (Pair{Map{{1, 5, 5}}, m}).Root(); ok {
		t.Error("a map without 0 has a root")
	}
}

// FuzzParseMap checks that Map.String returns an accepted text.
func FuzzParseMap(f *testing.F) {
	for _, text := range []string{"0:100000:65535", "0:1000:1,1:100000:65535", "0:4294901761:65535",
		",,,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMap(text)
		if err != nil {
			return
		}
		if again, err := ParseMap(m.String()); err != nil || !again.Equal(m) {
			t.Errorf("%q is %v, then %v, %v", text, m, again, err)
		}
		for _, e := range m {
			if host, ok := m.Host(e.Container); host != e.Host || !ok {
				t.Errorf("%q: %d is %d, %v", text, e.Container, host, ok)
			}
		}
	})
}
