package ranges

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
	"palisade/internal/oci/idmap"
)

// TestConfigured compares what a host's files take with a golden file.
func TestConfigured(t *testing.T) {
	spans, err := configured("testdata/host")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&text, "%s %s\n", s, s.By)
	}
	golden.Check(t, "testdata/taken.golden", text.String())
	if spans, err := configured(t.TempDir()); err != nil || len(spans) != len(wellKnown) {
		t.Errorf("without files: %v, %v", spans, err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/etc/subuid", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := configured(dir); err == nil {
		t.Error("a file that cannot be read is ignored")
	}
}

// TestDefaultBounds checks that nothing well-known is within the default bounds.
func TestDefaultBounds(t *testing.T) {
	for _, b := range defaultBounds {
		if s := conflict(wellKnown, b.First, b.Last-b.First+1); s != nil {
			t.Errorf("%s: %s has %s", b, s.By, s)
		}
	}
	c := config{bounds: defaultBounds}
	if c.blocks() != 4094 || c.block(0) != 1879048192 || c.block(4093)+BlockSize-1 != 2147352575 {
		t.Errorf("%d blocks from %d to %d", c.blocks(), c.block(0), c.block(4093)+BlockSize-1)
	}
}

func TestParseAuto(t *testing.T) {
	for _, tt := range []struct {
		text   string
		size   uint32
		isAuto bool
		err    string
	}{
		{"auto", 0, true, ""}, {"auto:65536", 65536, true, ""}, {"auto:1", 1, true, ""},
		{"auto:", 0, true, `size ""`}, {"auto:0", 0, true, `size "0"`},
		{"auto:065535", 0, true, `size "065535"`}, {"auto:65537", 0, true, `size "65537"`},
		{"auto:+1", 0, true, `size "+1"`}, {"auto:1:2", 0, true, `size "1:2"`},
		{"auto:99999999999", 0, true, "size"},
		{"", 0, false, ""}, {"Auto", 0, false, ""}, {"autos", 0, false, ""}, {"1:2:3", 0, false, ""},
	} {
		size, isAuto, err := parseAuto(tt.text)
		if size != tt.size || isAuto != tt.isAuto || (err == nil) != (tt.err == "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %d, %v, %v", tt.text, size, isAuto, err)
		}
	}
}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{`{}`, "1879048192-2147352575 65536 0", ""},
		{`{"bounds":["65536-131071","200000-400000"],"size":65535,"exclude":["1-2"]}`,
			"65536-131071, 200000-400000 65535 1", ""},
		{`{"bounds":["4294836224-4294967294"]}`, "4294836224-4294967294 65536 0", ""},
		{`{"bounds":[]}`, "", "bounds  hold no block"},
		{`{"bounds":["65537-131072"]}`, "", "bounds 65537-131072 hold no block of 65536 ids"},
		{`{"bounds":["1-65535","65535-70000"]}`, "", "1-65535 and 65535-70000 overlap"},
		{`{"bounds":["9-1"]}`, "", `range "9-1", want FIRST-LAST`},
		{`{"bounds":["1-4294967295"]}`, "", `range "1-4294967295"`},
		{`{"exclude":["x"]}`, "", `exclude: range "x"`},
		{`{"size":0}`, "", "size 0, want 1 to 65536"},
		{`{"size":65537}`, "", "size 65537"},
		{`{"bound":[]}`, "", `unknown field "bound"`},
		{`{} {}`, "", "data after the object"},
		{``, "", "EOF"},
	} {
		c, err := parseConfig([]byte(tt.text), "f")
		got := fmt.Sprintf("%s %d %d", c.describe(), c.size, len(c.taken))
		if tt.err == "" && (err != nil || got != tt.want) ||
			tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %s, %v; want %s%s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

// FuzzParse checks that no parser fails, and that all spans are valid.
func FuzzParse(f *testing.F) {
	for _, s := range sources {
		if text, err := os.ReadFile("testdata/host" + s.file); err == nil {
			f.Add(text)
		}
	}
	f.Add([]byte("a:4294967294:18446744073709551615"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range sources {
			for _, span := range s.parse(text, s.file) {
				if span.First > span.Last || span.Last > idmap.Max || span.By == "" {
					t.Errorf("%s: %s %q", s.file, span, span.By)
				}
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"bounds":["65536-131071","200000-400000"],"size":65535,"exclude":["1-2"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text, "f")
		if err != nil {
			return
		}
		for _, n := range []int{0, c.blocks() - 1} {
			if first := c.block(n); first%BlockSize != 0 || !c.has(first) {
				t.Errorf("%s: block %d begins at %d", text, n, first)
			}
		}
	})
}

// FuzzParseEntry checks that an entry that is read can be written again.
func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(`{"size":65536,"kind":"tree","owner":"/r","fs":"0","handle":"AQAA","token":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e := Entry{First: BlockSize}
		if parseEntry(text, &e) != nil {
			return
		}
		again := Entry{First: BlockSize}
		if written, err := e.encode(); err != nil || parseEntry([]byte(written), &again) != nil ||
			again.Remap() != e.Remap() {
			t.Errorf("%s: %+v, %+v, %v", text, e, again, err)
		}
	})
}
