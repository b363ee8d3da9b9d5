package main

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestExpandName starts the program by its other names.
func TestExpandName(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"lxcfs-toolkit list", "list"},
		{"lxcfs-tools remount -a", "remount -a"},
		{"/usr/bin/lxcfs-hook", "hook"},
		{"lxcfs-hook --log /x --strict", "--log /x hook --strict"},
		{"lxcfs-hook --mountpoint=/m hook", "--mountpoint=/m hook"},
		{"lxcfs-hook --mountpoint", "--mountpoint hook"},
		{"lxcfs-hook --help", "--help hook"},
		{"/opt/lxcfs-runc --root /r create --bundle /b x", "runtime --runtime runc -- --root /r create --bundle /b x"},
	} {
		args := strings.Fields(tt.args)
		if got := expandName(slices.Clone(args))[1:]; strings.Join(got, " ") != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestGlobalOptions holds the list of global options to the flags.
func TestGlobalOptions(t *testing.T) {
	for _, flag := range newApp().Flags {
		for _, name := range flag.Names() {
			_, isBool := flag.(*cli.BoolFlag)
			if takesValue, ok := globalOptions[name]; !ok || takesValue == isBool {
				t.Errorf("--%s: takes a value %v, known %v", name, takesValue, ok)
			}
		}
	}
}

// TestLineHandler checks that a message is one line of bounded length, whatever stands in it.
func TestLineHandler(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(newLineHandler(&text, slog.LevelWarn)).With("a", 1)
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
