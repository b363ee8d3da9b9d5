package linelog

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
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
	text.Reset()
	log.Error(strings.Repeat("x", 10000))
	if n := text.Len(); n > maxLine+10 || strings.Count(text.String(), "\n") != 1 {
		t.Errorf("a message of %d bytes", n)
	}
}
