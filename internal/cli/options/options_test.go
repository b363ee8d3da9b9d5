package options_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
)

// run runs a program with the command "do", which calls action.
func run(g *options.Global, action func(*cli.Context) error, args ...string) error {
	p := cmdline.NewProgram("program", "", "", io.Discard, nil,
		&cli.Command{Name: "do", Flags: []cli.Flag{g.JSONFlag()}, Action: action})
	p.Flags, p.After = g.Flags(), g.Close
	p.Before = func(*cli.Context) error { return g.Complete() }
	return p.Run(append([]string{"program"}, args...))
}

// TestComplete checks values of options, and wrong ones.
func TestComplete(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, tt := range []struct{ args, want string }{
		{"do", "/var/lib/lxc/lxcfs /default false []"},
		{"do --json", "/var/lib/lxc/lxcfs /default true []"},
		{"--json do", "/var/lib/lxc/lxcfs /default true []"},
		{"do --runtime-dir /r --mountpoint /m//x/", "/m/x /r false [--mountpoint /m/x --runtime-dir /r]"},
		{"--mountpoint m do", `--mountpoint "m" is not an absolute path`},
		{"--log-level loud do", `--log-level "loud" is none of debug, info, warn, error`},
		{"--log-format xml do", `--log-format "xml" is neither text nor json`},
		{"--log /dev/null/x do", "use --log: "},
		{"--log " + log + " do", "/var/lib/lxc/lxcfs /default false []"},
	} {
		g := &options.Global{Program: "program", RuntimeDir: "/default"}
		got := ""
		err := run(g, func(ctx *cli.Context) error {
			got = fmt.Sprint(g.Mountpoint, " ", g.RuntimeDir, " ", g.JSON, " ",
				options.Given(ctx, "mountpoint", "runtime-dir"))
			return nil
		}, strings.Fields(tt.args)...)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestLog logs at two levels in both formats: debug messages are left out.
func TestLog(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=started", "json": `"msg":"started"`} {
		g := &options.Global{Program: "program"}
		log := filepath.Join(t.TempDir(), "log")
		err := run(g, func(*cli.Context) error {
			g.Log.Debug("hidden")
			g.Log.Info("started")
			return nil
		}, "--log", log, "--log-format", format, "do")
		text, readErr := os.ReadFile(log)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) || strings.Count(string(text), "\n") != 1 {
			t.Errorf("%s: logged %q, want one line with %s", format, text, want)
		}
	}
}

// TestAsRoot checks that arguments are rejected, and users other than root.
func TestAsRoot(t *testing.T) {
	called := false
	action := options.AsRoot(func(*cli.Context) error {
		called = true
		return nil
	})
	err := run(new(options.Global), action, "do", "--mountpoint", "/m", "x")
	var usage cmdline.UsageError
	if !errors.As(err, &usage) || called || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("with an argument: %v, called %v", err, called)
	}
	err = run(new(options.Global), action, "do", "--mountpoint", "/m")
	if isRoot := os.Geteuid() == 0; called != isRoot || (err == nil) != isRoot {
		t.Errorf("as user %d: %v, called %v", os.Geteuid(), err, called)
	}
}

// TestPrint prints a result as a table and as JSON, which commands can be copied from.
func TestPrint(t *testing.T) {
	write := func(w io.Writer) { fmt.Fprintf(w, "A\tB\nlong\t1\n") }
	for _, tt := range []struct {
		json bool
		want string
	}{
		{false, "A     B\nlong  1\n"},
		{true, "{\n  \"command\": \"a >b \\u009b\"\n}\n"},
	} {
		g := options.Global{JSON: tt.json}
		var b bytes.Buffer
		err := g.Print(&b, map[string]string{"command": "a >b \u009b"}, write)
		if err != nil || b.String() != tt.want {
			t.Errorf("JSON %v: got %q, %v, want %q", tt.json, &b, err, tt.want)
		}
	}
}
