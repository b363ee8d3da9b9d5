package idmap

import (
	"strings"
	"testing"
)

func TestParseOwner(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Owner
		err  string // part of the error
	}{
		{"1000:2000", Owner{1000, 2000, 1}, ""},
		{"0:0:65535", Owner{0, 0, 65535}, ""},
		{"4294967294:4294967294", Owner{4294967294, 4294967294, 1}, ""},
		{"4294967294:0:2", Owner{}, "uid+size is 4294967296"},
		{"0:4294967290:7", Owner{}, "gid+size is 4294967297"},
		{"1:1:0", Owner{}, `size "0", want greater than 0`},
		{"1", Owner{}, "has 1 fields, want uid:gid or uid:gid:size"},
		{"", Owner{}, "has 1 fields"},
		{"1:2:3:4", Owner{}, "has 4 fields"},
		{"1:x", Owner{}, `gid "x" is no decimal number`},
		{":1", Owner{}, `uid "" is empty`},
		{"1:1:-1", Owner{}, `size "-1" is no decimal number`},
	} {
		got, err := ParseOwner(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, %v, want %v, %q", tt.text, got, err, tt.want, tt.err)
		}
	}
}

// TestOnHost maps stored ids for containers with one range, and with several.
func TestOnHost(t *testing.T) {
	several := Map{{Container: 0, Host: 100000, Size: 10}, {Container: 10, Host: 5, Size: 1},
		{Container: 11, Host: 100011, Size: 100}}
	for _, tt := range []struct {
		owner Owner
		uids  Map
		want  string
	}{
		{Owner{500, 500, 1}, Map{{0, 100000, 65535}}, "500:100000:1"},
		{Owner{500, 500, 70000}, Map{{0, 100000, 65535}}, "500:100000:65535"},
		{Owner{500, 500, 11}, several, "500:100000:10,510:5:1"},
		{Owner{500, 500, 20}, several, "500:100000:10,510:5:1,511:100011:9"},
		{Owner{500, 500, 1}, Map{{5, 100000, 10}}, ""},
	} {
		got := tt.owner.OnHost(Pair{UID: tt.uids, GID: tt.uids})
		if got.UID.String() != tt.want || got.GID.String() != tt.want {
			t.Errorf("%v of %v: %v, want %s", tt.owner, tt.uids, got, tt.want)
		}
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add("1000:1000")
	f.Add("0:0:65535")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOwner(text)
		if err != nil {
			return
		}
		if again, err := ParseOwner(o.String()); err != nil || again != o {
			t.Errorf("%q: %v becomes %v, %v", text, o, again, err)
		}
		pair := o.OnHost(Remap{100000, 100000, MaxOffset}.Pair())
		if err := pair.Check(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
