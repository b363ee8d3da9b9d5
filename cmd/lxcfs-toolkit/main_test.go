package main

import (
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
