package cmdline

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
)

// TestTerminal has text of others that would do something with a terminal.
func TestTerminal(t *testing.T) {
	for _, tt := range []struct{ text, line, word string }{
		{"", "", ""},
		{"web-1.2_ä", "web-1.2_ä", `"web-1.2_\u00e4"`},
		{"a b", "a b", `"a\x20b"`},
		{`a\b`, `a\b`, `"a\\b"`},
		{"\x1b[2Jweb", `\x1b[2Jweb`, `"\x1b[2Jweb"`},
		{"a\tb", "a b", `"a\tb"`},
		{"a\nb\n", "a; b", `"a\nb\n"`},
		{"a\rb", `a\rb`, `"a\rb"`},
		{"\u009b31m", `\u009b31m`, `"\u009b31m"`},
		{"\u202egpj", `\u202egpj`, `"\u202egpj"`},
		{"a\xffb", `a\xffb`, `"a\xffb"`},
		{"say \"\x07\"", `say "\a"`, `"say\x20\"\a\""`},
		{"\x7f", `\x7f`, `"\x7f"`},
	} {
		if got := OneLine(tt.text); got != tt.line {
			t.Errorf("as a part of a line %q is %q, want %q", tt.text, got, tt.line)
		}
		if got := Word(tt.text); got != tt.word {
			t.Errorf("as a word %q is %q, want %q", tt.text, got, tt.word)
		}
	}
}

// TestSafeJSON has strings that would do something with a terminal: they are the same, once they
// are parsed.
func TestSafeJSON(t *testing.T) {
	for _, text := range []string{"", "a\nb", "\x1b[2J", "\u009b31m", "\u202egpj", "\x7f", "\U000e0001", "ä€\U0001f600", "\u2028\u00a0"} {
		encoded, err := json.MarshalIndent([]string{text}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		safe := SafeJSON(encoded)
		for _, r := range string(safe) {
			if r != '\n' && !strconv.IsPrint(r) {
				t.Errorf("%q has %q", safe, r)
			}
		}
		var got []string
		if err := json.Unmarshal(safe, &got); err != nil || got[0] != text {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
}

// TestSafeJSONWriter logs a name with control characters.
func TestSafeJSONWriter(t *testing.T) {
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(SafeJSONWriter(&b), nil)).Info("start", "container", "a\u009b2J\u202e")
	if text := b.String(); !strings.HasSuffix(text, `"container":"a\u009b2J\u202e"}`+"\n") {
		t.Errorf("logged %q", text)
	}
}

// FuzzWord makes sure that there is nothing but graphic ASCII in a word, and that nothing gets
// lost.
func FuzzWord(f *testing.F) {
	for _, name := range []string{"", "web", "\x1b[2J", "a b", `"`, "\u202e", "\xff"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := Word(name)
		for _, c := range []byte(got) {
			if c <= ' ' || c > '~' {
				t.Fatalf("%q becomes %q", name, got)
			}
		}
		if got == name {
			return
		}
		if back, err := strconv.Unquote(got); err != nil || back != name {
			t.Errorf("%q becomes %s, and that %q, %v", name, got, back, err)
		}
	})
}
