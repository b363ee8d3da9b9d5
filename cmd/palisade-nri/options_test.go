package main

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/nri"
)

// parse returns the agent's options for a command line.
func parse(t *testing.T, args ...string) (configuration nri.Options, err error) {
	t.Helper()
	o := new(agentOptions)
	p := cmdline.NewProgram("palisade-nri", "", "", io.Discard, func(ctx *cli.Context) error {
		configuration, err = o.complete(ctx)
		return err
	})
	p.Flags = o.flags()
	err = p.Run(append([]string{"palisade-nri"}, args...))
	return configuration, err
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		args               string
		sockets            string
		labels, namespaces map[string]bool
		isOff              bool
	}{
		{args: "", sockets: "/var/run/nri/nri.sock", namespaces: map[string]bool{"kube-system": false}},
		{
			args:    "--socket /b.sock --socket /a.sock --socket /b.sock --default off",
			sockets: "/a.sock /b.sock", namespaces: map[string]bool{"kube-system": false}, isOff: true,
		},
		{
			args:       "--off-namespace= --on-namespace web --on-label a/b=c --off-label a/b=",
			sockets:    "/var/run/nri/nri.sock",
			namespaces: map[string]bool{"web": true},
			labels:     map[string]bool{"a/b=c": true, "a/b=": false},
		},
		{
			args: "--on-namespace kube-system", sockets: "/var/run/nri/nri.sock",
			namespaces: map[string]bool{"kube-system": true},
		},
		{
			args: "--off-namespace one --off-namespace two", sockets: "/var/run/nri/nri.sock",
			namespaces: map[string]bool{"one": false, "two": false},
		},
	} {
		got, err := parse(t, strings.Fields(tt.args)...)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		r := &got.Rules
		if !slices.Equal(got.Sockets, strings.Fields(tt.sockets)) || r.Default == tt.isOff ||
			!maps.Equal(r.Labels, tt.labels) || !maps.Equal(r.Namespaces, tt.namespaces) {
			t.Errorf("%q: got %+v", tt.args, got)
		}
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"--socket nri.sock":  `--socket "nri.sock" is not an absolute path`,
		"--plugin-index 5":   `--plugin-index "5": want two digits`,
		"--plugin-index 5a":  `--plugin-index "5a": want two digits`,
		"--plugin-name=":     `--plugin-name "": want a name`,
		"--default yes":      `--default "yes" is neither on nor off`,
		"--mountpoint lxcfs": `--mountpoint "lxcfs" is not an absolute path`,
		"--runtime-dir run":  `--runtime-dir "run" is not an absolute path`,
		"--install opt":      `--install "opt": want an absolute path of letters, digits, and ./_-`,
		"--install /opt --mountpoint /mnt": `--install: want --mountpoint /var/lib/lxc/lxcfs, ` +
			`not "/mnt"`,
		"--install /opt --runtime-dir /mnt": `--install: want --runtime-dir /run/lxcfs-toolkit, ` +
			`not "/mnt"`,
		"--log-level all":       `--log-level "all" is none of debug, info, warn, error`,
		"--log-format xml":      `--log-format "xml" is neither text nor json`,
		"--metrics here":        `--metrics "here" is not an IP address and port`,
		"--on-label app":        `--on-label "app": want KEY=VALUE`,
		"--off-label =x":        `--off-label "=x": want KEY=VALUE`,
		"--on-namespace=":       `--on-namespace "": want a name`,
		"--off-namespace kube*": `--off-namespace "kube*": want a name`,
		"--on-namespace a --off-namespace a": `"a" is in both --on-namespace and ` +
			`--off-namespace`,
	} {
		_, err := parse(t, strings.Fields(args)...)
		var usage cmdline.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}
