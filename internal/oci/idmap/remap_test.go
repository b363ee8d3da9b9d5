package idmap

import (
	"strings"
	"testing"
)

// TestParseRemap covers what iSulad's manual allows for --user-remap, in decimal numbers only.
func TestParseRemap(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Remap
		err  string // part of the error
	}{
		{"100000:100000:65535", Remap{100000, 100000, 65535}, ""},
		{"1000:2000:1", Remap{1000, 2000, 1}, ""},
		{"0:5:5", Remap{0, 5, 5}, ""},
		{"5:0:5", Remap{5, 0, 5}, ""},
		{"007:8:9", Remap{}, `host uid "007" has a leading zero`},
		{"7:0303240:9", Remap{}, `host gid "0303240" has a leading zero`},
		{"7:8:00", Remap{}, `id offset "00" has a leading zero`},
		{"4294901760:4294901760:65535", Remap{4294901760, 4294901760, 65535}, ""},
		{"4294967294:1:1", Remap{4294967294, 1, 1}, ""},
		{"4294901761:1:65535", Remap{}, "uid+offset is 4294967296"},
		{"1:4294901761:65535", Remap{}, "gid+offset is 4294967296"},
		{"1:1:0", Remap{}, `id offset "0", want greater than 0`},
		{"1:1:65536", Remap{}, `id offset "65536", want greater than 0 and less than 65536`},
		{"4294967295:1:1", Remap{}, `host uid "4294967295" is larger`},
		{"1:4294967295:1", Remap{}, `host gid "4294967295" is larger`},
		{"1:1:4294967295", Remap{}, `id offset "4294967295" is larger`},
		{"18446744073709551617:1:1", Remap{}, "larger"},
		{"0x10:1:1", Remap{}, `host uid "0x10" is no decimal number`},
		{"1:+5:1", Remap{}, `host gid "+5" is no decimal number`},
		{"1:1: 5", Remap{}, `id offset " 5" is no decimal number`},
		{"1:1:5\n", Remap{}, `id offset "5\n" is no decimal number`},
		{"-1:1:1", Remap{}, `host uid "-1" is no decimal number`},
		{"1_0:1:1", Remap{}, "no decimal number"},
		{"١:1:1", Remap{}, "no decimal number"},
		{":1:1", Remap{}, `host uid "" is empty`},
		{"1::1", Remap{}, `host gid "" is empty`},
		{"1:1:", Remap{}, `id offset "" is empty`},
		{"", Remap{}, "has 1 fields"},
		{"1:1", Remap{}, "has 2 fields"},
		{"1:1:1:1", Remap{}, "has 4 fields"},
		{":1000::1000:65535:", Remap{}, "has 6 fields"},
	} {
		got, err := ParseRemap(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, %v, want %v, %q", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestRemap(t *testing.T) {
	for r, want := range map[Remap]bool{{1, 1, 1}: true, {0, 1, 1}: false, {1, 0, 1}: false,
		{0, 0, 1}: false} {
		if r.HasEffect() != want {
			t.Errorf("%v has an effect: %v", r, !want)
		}
	}
	r := Remap{1000, 2000, 30}
	p := r.Pair()
	if p.String() != r.String() || r.String() != "1000:2000:30" || p.Check() != nil {
		t.Errorf("%v, %v", r, p)
	}
	if uid, gid, ok := p.Root(); uid != 1000 || gid != 2000 || !ok {
		t.Errorf("root is %d:%d, %v", uid, gid, ok)
	}
	if again, err := ParseRemap(r.String()); again != r || err != nil {
		t.Errorf("%v, %v", again, err)
	}
}

// FuzzParseRemap checks that the kernel accepts the maps of an accepted text.
func FuzzParseRemap(f *testing.F) {
	for _, text := range []string{"100000:100000:65535", "4294901760:1:65535", "0x1:1:1", ":::",
		"1:1:1:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRemap(text)
		if err != nil {
			return
		}
		if err := r.Pair().Check(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
