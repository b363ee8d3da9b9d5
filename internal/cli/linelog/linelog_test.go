package linelog

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLineHandler checks that a message is one line of bounded length, whatever stands in it.
func TestLineHandler(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(New("lxcfs-toolkit", &text, slog.LevelWarn)).With("a", 1)
	log.Info("not this")
	log.Warn("two\nlines", "err", errors.New("x\ny"))
	if want := "lxcfs-toolkit: warn: two; lines (a: 1, err: x; y)\n"; text.String() != want {
		t.Errorf("got %q, want %q", &text, want)
	}
	for _, letter := range []string{"x", "ä", "€", "\U0001f600"} {
		text.Reset()
		log.Error(strings.Repeat(letter, 10000))
		n, lines := text.Len(), strings.Count(text.String(), "\n")
		if n > maxLine+10 || lines != 1 || !utf8.Valid(text.Bytes()) {
			t.Errorf("a message of %d bytes: %q", n, text.String()[n-20:])
		}
	}
}
