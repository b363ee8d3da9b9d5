package main

import (
	"io"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestNames runs the program under each of its names, and checks the command and its arguments.
func TestNames(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"lxcfs-toolkit list", "list"},
		{"lxcfs-tools remount -a", "remount"},
		{"lxcfs-toolkit remount --log-level debug --container-id x --log-format text", "remount"},
		{"/usr/bin/lxcfs-hook", "hook"},
		{"lxcfs-hook --log-level debug --strict", "hook"},
		{"lxcfs-hook --strict --mountpoint=/m", "hook"},
		{"lxcfs-hook --mountpoint=/m hook", "hook"},
		{"lxcfs-hook x", "hook x"},
		{"/opt/lxcfs-runc --root /r create --bundle /b x", "runtime --root /r create --bundle /b x"},
		{"lxcfs-toolkit runtime --strict create --bundle /b --strict x", "runtime create --bundle /b --strict x"},
		{"lxcfs-toolkit runtime --log-level warn -- --log /l create x", "runtime --log /l create x"},
		{"lxcfs-toolkit hook-spec podman --path /x", "hook-spec podman"},
		{"lxcfs-toolkit poststop lxcfs.service --mountpoint /m", "poststop lxcfs.service"},
	} {
		p, args := programFor(strings.Fields(tt.args))
		got := ""
		for _, command := range p.Commands {
			command.Action = func(ctx *cli.Context) error {
				got = strings.TrimSpace(command.Name + " " + strings.Join(ctx.Args().Slice(), " "))
				return nil
			}
		}
		p.Writer = io.Discard
		if err := p.Run(args); err != nil || got != tt.want {
			t.Errorf("%q runs %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}
